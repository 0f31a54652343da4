// Writes docs/troubleshooting.md: `npm run docs:errors`, after a change of the messages or of what explains them.

import {writeFileSync} from 'node:fs';
import {troubleshooting} from './page';

const {page, unexplained, unused} = troubleshooting();
writeFileSync('docs/troubleshooting.md', page);
unexplained.forEach(text => console.error(`scripts/troubleshooting/explained.ts does not explain: ${text}`));
unused.forEach(part => console.error(`No message has this any more: ${part}`));
if (unexplained.length + unused.length > 0) {
  process.exitCode = 1;
}
