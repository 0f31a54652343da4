import {readdirSync, readFileSync, statSync} from 'node:fs';

// Files that services read beside the code.

const text = (path: string) => readFileSync(path, 'utf8');
const manifest = JSON.parse(text('package.json')) as {version: string; license: string};

test('CITATION.cff names the version and license of package.json, and the contributors as authors', () => {
  const citation = text('CITATION.cff');
  expect(/^version: (.*)$/m.exec(citation)?.[1]).toBe(manifest.version);
  expect(/^license: (.*)$/m.exec(citation)?.[1]).toBe(manifest.license);
  expect(citation).toContain('authors:\n  - name: the tfjs-lora contributors\n');
});

test('the workflow for tests runs the script that a fresh machine runs', () => {
  expect(text('.github/workflows/ci.yml')).toMatch(/^ +- run: \.ci\/run$/m);
  expect(statSync('.ci/run').mode & 0o111).not.toBe(0);
});

test('the workflow for releases publishes with provenance', () => {
  const workflow = text('.github/workflows/release.yml');
  expect(workflow).toContain('id-token: write');
  expect(workflow).toContain('npm publish --provenance');
});

test('a form for bugs asks for the device and the backend', () => {
  expect(readdirSync('.github/ISSUE_TEMPLATE').sort()).toEqual(['bug.yml', 'config.yml', 'model.yml', 'question.yml']);
  const labels = [...text('.github/ISSUE_TEMPLATE/bug.yml').matchAll(/^ +label: (.*)$/gm)].map(([, label]) => label);
  expect(labels).toEqual(expect.arrayContaining(['Backend', 'Device']));
});
