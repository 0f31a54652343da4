// Prints the table of the last run of the suite in test/backends, as it stands in docs/backends.md: `npm run backends`.

import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {readReports, summary, table} from '../test/kernels/everywhere/report';

const reports = readReports(join(dirname(fileURLToPath(import.meta.url)), '..'));
if (reports === undefined) {
  console.error('The suite has not run here. `npm run test:backends` runs it.');
  process.exitCode = 1;
} else {
  console.log(`${table(reports)}\n\n${summary(reports)}`);
}
