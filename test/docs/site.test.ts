import {readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';

const ROOT = join(__dirname, '../..');
const text = (file: string) => readFileSync(join(ROOT, file), 'utf8');

test('every page of docs stands in the list beside the pages of the site', () => {
  const config = text('site/.vitepress/config.ts');
  const pages = readdirSync(join(ROOT, 'docs')).filter(name => name.endsWith('.md'));
  expect(pages.filter(page => !config.includes(`'${page.replace('.md', '')}']`))).toEqual([]);
});

test('the code of the opening page is code of the README, which runs', () => {
  const [, code] = /```ts\n([^]*?)```/.exec(text('site/index.md'))!;
  const readme = text('README.md');
  expect(code!.split('\n').filter(line => !readme.includes(line))).toEqual([]);
});
