const {default: Sequencer} = require('@jest/test-sequencer');

/** Runs test files in the order that the mutant asks for. */
module.exports = class extends Sequencer {
  sort(tests) {
    const order = [...globalThis.mutants.tests.keys()];
    return [...tests].sort((one, other) => order.indexOf(one.path) - order.indexOf(other.path));
  }
};
