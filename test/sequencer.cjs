const {default: Sequencer} = require('@jest/test-sequencer');

/** Tests of pages, bundles, packages and damaged files, which take most of the time beside the suite on all backends. */
const isDivided = ({path}) => /\/test\/(?:attack|bench|examples|package)\//.test(path);
const sizeOf = ({path, context}) => context.hasteFS.getSize(path) ?? 0;

module.exports = class extends Sequencer {
  /** The suite on all backends takes longest by far. Begun first, it runs beside all the others. */
  sort(tests) {
    const isLong = ({path}) => path.endsWith('everywhere.backends.test.ts');
    const sorted = super.sort(tests);
    return [...sorted.filter(isLong), ...sorted.filter(test => !isLong(test))];
  }

  /** With `--shard=1/3`, a third of the tests that are divided, and all the others. Each third takes about as long. */
  shard(tests, {shardIndex, shardCount}) {
    const divided = tests.filter(isDivided).toSorted((a, b) => sizeOf(b) - sizeOf(a) || (a.path < b.path ? -1 : 1));
    const share = divided.filter((_, i) => i % shardCount === shardIndex - 1);
    return [...tests.filter(test => !isDivided(test)), ...share];
  }
};
