import {readFile} from 'node:fs/promises';
import {join} from 'node:path';
import {type Page, readPages} from '../src/cli/pages';

/** Tables of tests, which explain nothing. */
const OPTIONAL = /-tests$|^what-import-changes$|^architecture$/;

/**
 * The documentation in the two files that language models look for at the root of a site, see llmstxt.org: a list of
 * pages, and all their text.
 */
export async function llmsFiles(root: string): Promise<Record<'llms.txt' | 'llms-full.txt', string>> {
  const readme = await readFile(join(root, 'README.md'), 'utf8');
  const pages = await readPages(join(root, 'docs'));
  const [title = '', about = ''] = readme.split(/\n{2,}/);
  const lineOf = ({name, title: text, summary}: Page) =>
    `- [${text}](docs/${name}.html)${summary === '' ? '' : `: ${summary}`}`;
  const linesOf = (isOptional: boolean) => pages.filter(({name}) => OPTIONAL.test(name) === isOptional).map(lineOf);
  const index = [
    title,
    `> ${about.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').replaceAll('\n', ' ')}`,
    'All pages in one file: [llms-full.txt](llms-full.txt)',
    ['## Docs', '', ...linesOf(false)].join('\n'),
    ['## Optional', '', ...linesOf(true)].join('\n'),
  ];
  const full = [readme, ...pages.filter(({name}) => !name.endsWith('-tests')).map(({text}) => text)];
  return {'llms.txt': `${index.join('\n\n')}\n`, 'llms-full.txt': `${full.map(text => text.trimEnd()).join('\n\n')}\n`};
}
