const {spawnSync} = require('node:child_process');
const {existsSync, rmSync, writeSync} = require('node:fs');
const {join} = require('node:path');

const ROOT = join(__dirname, '..');
const RESULTS = join(ROOT, 'test/kernels/results/backends.json');

/** Says in the last lines of a run on which backends it ran, with the deviations on each. */
module.exports = class BackendsReporter {
  onRunStart() {
    rmSync(RESULTS, {force: true});
  }

  onRunComplete() {
    if (existsSync(RESULTS)) {
      const {stdout} = spawnSync(process.execPath, ['--import', 'tsx', join(ROOT, 'scripts/backends.ts')], {
        encoding: 'utf8',
      });
      // After the summary, which jest prints behind all reporters.
      process.once('exit', () => writeSync(2, `\n${stdout}`));
    }
  }
};
