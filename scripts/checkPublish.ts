// Refuses to publish what would not work on the registry's page. npm runs it before `npm publish`.
//
// The page finds the README's pictures and links by the repository that package.json names.

import {readFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';

const manifest = JSON.parse(readFileSync(join(dirname(fileURLToPath(import.meta.url)), '../package.json'), 'utf8')) as {
  repository?: string | {url?: string};
};
const url = typeof manifest.repository === 'string' ? manifest.repository : manifest.repository?.url;
if (url === undefined || url === '') {
  console.error(
    'package.json names no repository. Without it the links and pictures of the README lead nowhere on the ' +
      'registry. Set "repository".',
  );
  process.exitCode = 1;
}
