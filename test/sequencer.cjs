const {default: Sequencer} = require('@jest/test-sequencer');

/** The suite on all backends takes longest by far. Begun first, it runs beside all the others. */
module.exports = class extends Sequencer {
  sort(tests) {
    const isLong = ({path}) => path.endsWith('everywhere.backends.test.ts');
    const sorted = super.sort(tests);
    return [...sorted.filter(isLong), ...sorted.filter(test => !isLong(test))];
  }
};
