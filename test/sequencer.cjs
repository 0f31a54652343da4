const {default: Sequencer} = require('@jest/test-sequencer');

const sizeOf = ({path, context}) => context.hasteFS.getSize(path) ?? 0;

module.exports = class extends Sequencer {
  /** The suite on all backends takes longest by far. Begun first, it runs beside all the others. */
  sort(tests) {
    const isLong = ({path}) => path.endsWith('everywhere.backends.test.ts');
    const sorted = super.sort(tests);
    return [...sorted.filter(isLong), ...sorted.filter(test => !isLong(test))];
  }

  /** With `--shard=1/4`, every fourth test by the size of its file, so that each quarter takes about as long. */
  shard(tests, {shardIndex, shardCount}) {
    const sorted = tests.toSorted((a, b) => sizeOf(b) - sizeOf(a) || (a.path < b.path ? -1 : 1));
    return sorted.filter((_, i) => i % shardCount === shardIndex - 1);
  }
};
