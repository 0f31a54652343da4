import {readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {withImportNames} from '../../scripts/entries';
import {isForward} from './pages';

const ROOT = join(__dirname, '../..');
const text = (file: string) => readFileSync(join(ROOT, file), 'utf8');

test('every page of docs is in the sidebar of the site', () => {
  const config = text('site/.vitepress/config.ts');
  const pages = readdirSync(join(ROOT, 'docs')).filter(name => name.endsWith('.md'));
  const shown = pages.filter(page => !isForward(`docs/${page}`));
  expect(shown.filter(page => !config.includes(`'${page.replace('.md', '')}']`))).toEqual([]);
});

test('the code of the opening page is code of the README, which runs', () => {
  const [, code] = /```ts\n([^]*?)```/.exec(text('site/index.md'))!;
  const readme = text('README.md');
  expect(code!.split('\n').filter(line => !readme.includes(line))).toEqual([]);
});

test('the pages of the API name entry points as programs import them, the main one first', () => {
  const landing = '# API\n\n## Modules\n\n- [graph](graph/index.md)\n- [node](node/index.md)\n';
  const [main, graph] = ['- [tfjs-lora](node/index.md)', '- [tfjs-lora/graph](graph/index.md)'];
  expect(withImportNames(landing)).toBe(`# API\n\n## Modules\n\n${main}\n${graph}\n`);
  const page = '# node\n\n## Functions\n\n- [applyLoRA](functions/applyLoRA.md)\n';
  expect(withImportNames(page)).toBe(page.replace('# node', '# tfjs-lora'));
  expect(withImportNames('# applyLoRA()\n')).toBe('# applyLoRA()\n');
});
