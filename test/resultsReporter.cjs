const {writeFileSync} = require('node:fs');

/** Writes the results of a run as JSON, beside what jest prints. */
module.exports = class ResultsReporter {
  constructor(_config, {file}) {
    this.file = file;
  }

  onRunComplete(_contexts, results) {
    writeFileSync(this.file, JSON.stringify(results));
  }
};
