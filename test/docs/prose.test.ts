import {readdirSync} from 'node:fs';
import {join} from 'node:path';
import {OPERATIONS} from '../../src/extensions/onnx/lower/operations';
import {chooseArchitecture} from '../../src/extensions/transformers/load/architectures';
import {HubConfig} from '../../src/extensions/transformers/net/hubConfig';
import {messageOf} from '../../src/platform/errors';
import {PAGES, readPage} from './pages';

const OTHERS = ['CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md', 'examples/README.md', 'bench/README.md'];

/** The numbers before a phrase, in all pages, as [page, number]. */
function numbersBefore(phrase: string): [page: string, count: number][] {
  const pattern = new RegExp(String.raw`\b(\d+)\s+${phrase}`, 'g');
  return [...PAGES, ...OTHERS].flatMap(page =>
    [...readPage(page).matchAll(pattern)].map(([, count]): [string, number] => [page, Number(count)]),
  );
}

/** The model types that are supported: those that the error for another one lists. */
async function modelTypes(): Promise<string[]> {
  const chosen = chooseArchitecture(HubConfig.parse({model_type: 'none'}), {}).then(() => '', messageOf);
  return /Supported: (.*)\.$/.exec(await chosen)?.[1]?.split(', ') ?? [];
}

test.each([...PAGES, ...OTHERS])('in %s, a paragraph that ends with a colon is followed by what it announces', page => {
  const paragraphs = readPage(page)
    .replace(/^```[^]*?^```/gm, '```')
    .split(/\n\n+/);
  const isAnnounced = (text = '') => /^(?:```|\||[-*] |\d+\. | {4}|[<>`]|!\[)/.test(text);
  const cut = paragraphs.filter((text, i) => /:\s*$/.test(text) && !isAnnounced(paragraphs[i + 1]));
  expect(cut).toEqual([]);
});

test('counts in the docs are those of the tables in the code', async () => {
  const operations = ['', 'com.microsoft'].flatMap(domain => Object.keys(OPERATIONS[domain] ?? {})).length;
  const examples = readdirSync(join(process.cwd(), 'examples'), {withFileTypes: true}).filter(
    entry => entry.isDirectory() && entry.name !== 'shared',
  ).length;
  const types = (await modelTypes()).length;
  const onOperations = numbersBefore('operations');
  const onTypes = numbersBefore('model types');
  const onExamples = numbersBefore(String.raw`examples\]\(examples/README\.md\)`);
  expect(onOperations).toEqual([
    ['docs/architecture.md', operations],
    ['CHANGELOG.md', operations],
  ]);
  expect(onTypes).toEqual([
    ['docs/architecture.md', types],
    ['CHANGELOG.md', types],
  ]);
  expect(onExamples).toEqual([['README.md', examples]]);
});
