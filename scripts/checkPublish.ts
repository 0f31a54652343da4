// Refuses to publish what would not work on the registry's page. npm runs it before `npm publish`.
//
// The page finds the README's pictures and links by the repository that package.json names.

import {readFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';

const manifest = JSON.parse(
  readFileSync(join(dirname(fileURLToPath(import.meta.url)), '../package.json'), 'utf8'),
) as Record<string, unknown>;
const missing = ['repository', 'bugs', 'homepage'].filter(field => !manifest[field]);
if (missing.length > 0) {
  console.error(
    `package.json lacks ${missing.join(', ')}. Without them the registry's page has no working links or pictures, and ` +
      'users cannot report problems. Set them before publishing.',
  );
  process.exitCode = 1;
}
