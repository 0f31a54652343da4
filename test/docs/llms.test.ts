import {readdirSync, readFileSync} from 'node:fs';
import {llmsFiles} from '../../scripts/llms';
import {isForward} from './pages';

const NAMES = readdirSync('docs')
  .filter(name => name.endsWith('.md') && !isForward(`docs/${name}`))
  .map(name => name.replace('.md', ''));

test('llms.txt begins with what the library is, and links to every page by its title', async () => {
  const {'llms.txt': index} = await llmsFiles(process.cwd());
  const [title, about] = index.split('\n\n');
  expect(title).toBe('# tfjs-lora');
  expect(about).toMatch(/^> LoRA fine-tuning for TensorFlow\.js\. /);
  const links = [...index.matchAll(/^- \[(.+?)\]\(docs\/([\w-]+)\.html\)/gm)].map(([, text, name]) => [name, text]);
  const titles = NAMES.map(name => [name, /^# (.*)$/m.exec(readFileSync(`docs/${name}.md`, 'utf8'))?.[1]]);
  expect(links.sort()).toEqual(titles.sort());
});

test('a line of llms.txt has the first sentence of its page, without links', async () => {
  const {'llms.txt': index} = await llmsFiles(process.cwd());
  expect(index).toContain(
    '- [ONNX](docs/onnx.html): `fromONNX` loads an ONNX file as a `tf.LayersModel`. You can adapt',
  );
  expect(index.replace(/^- \[.*?\]\(docs\/[\w-]+\.html\)/gm, '')).not.toContain('.md)');
});

test('llms-full.txt has the text of the README and of each page, but not the tables of tests', async () => {
  const {'llms-full.txt': full} = await llmsFiles(process.cwd());
  const texts = ['README.md', ...NAMES.filter(name => !name.endsWith('-tests')).map(name => `docs/${name}.md`)];
  expect(texts.filter(path => !full.includes(readFileSync(path, 'utf8').trimEnd()))).toEqual([]);
  expect(full).not.toContain(readFileSync('docs/backend-tests.md', 'utf8').trimEnd());
});
