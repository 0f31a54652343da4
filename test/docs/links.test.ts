import {spawnSync} from 'node:child_process';
import {existsSync, readFileSync, statSync} from 'node:fs';
import {dirname, join, normalize} from 'node:path';
import {isForward} from './pages';

const ROOT = process.cwd();

/** Every markdown file that belongs to the repository. */
const FILES = spawnSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.md'], {encoding: 'utf8'})
  .stdout.split('\n')
  .filter(file => file !== '' && existsSync(join(ROOT, file)));

function textOf(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8').replace(/```[\s\S]*?```/g, '');
}

/** The links and pictures of a file. */
function linksOf(file: string): string[] {
  const text = textOf(file);
  const inMarkdown = [...text.matchAll(/\]\(([^)\s]+)\)/g)];
  const inHtml = [...text.replace(/`[^`\n]*`/g, '').matchAll(/\b(?:src|srcset|href)="([^"]+)"/g)];
  return [...inMarkdown, ...inHtml].map(([, link = '']) => link);
}

/** A heading as the part of a link behind `#`, as GitHub writes it. */
function anchorOf(heading: string): string {
  return heading
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .replace(/\s/g, '-');
}

function anchorsOf(file: string): string[] {
  return [...textOf(file).matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => anchorOf(heading));
}

test('there are files with links', () => {
  expect(FILES).toEqual(expect.arrayContaining(['README.md', 'docs/quick-start.md', 'examples/README.md']));
  expect(linksOf('README.md').length).toBeGreaterThan(30);
});

test.each(FILES)('the links of %s lead to files that are there, and to headings that they have', file => {
  const faults = linksOf(file).filter(link => {
    if (/^https:\/\//.test(link)) {
      return false;
    }
    const [path = '', anchor] = link.split('#');
    const target = path === '' ? file : normalize(join(dirname(file), path));
    return (
      target.startsWith('..') ||
      !existsSync(join(ROOT, target)) ||
      (anchor !== undefined && !(target.endsWith('.md') && anchorsOf(target).includes(anchor)))
    );
  });
  expect(faults).toEqual([]);
});

test('the README links to files, which a registry finds by the repository, not to folders or to this machine', () => {
  const local = linksOf('README.md').filter(link => !/^https:\/\//.test(link));
  expect(local.filter(link => link.startsWith('/') || link.startsWith('.') || link.includes('\\'))).toEqual([]);
  expect(local.filter(link => !statSync(join(ROOT, link.split('#')[0]!)).isFile())).toEqual([]);
});

/** Lines of prose that could be broken before column 100. Code, tables, headings, HTML and images stay as they are. */
function longLines(file: string): string[] {
  const lines = textOf(file)
    .split('\n')
    .filter(line => line.length > 100 && !/^( {4}|\s*([|#<]|!\[|\[!\[))/.test(line));
  return lines.filter(line => /\S /.test(line.replace(/`[^`]*`/g, code => code.replace(/ /g, '_')).slice(2, 100)));
}

test.each(FILES)('the prose of %s wraps at 100 columns', file => {
  expect(longLines(file)).toEqual([]);
});

test('the README is read in five minutes', () => {
  const words = readFileSync(join(ROOT, 'README.md'), 'utf8').split(/\s+/);
  expect(words.filter(word => /\w/.test(word)).length).toBeLessThanOrEqual(900);
});

test('every page of docs is linked to from the README or from a page that it links to', () => {
  const docs = FILES.filter(file => file.startsWith('docs/'));
  const linked = new Set(['README.md', ...linksOf('README.md')]);
  docs
    .filter(file => linked.has(file))
    .forEach(file => linksOf(file).forEach(link => linked.add(normalize(join('docs', link.split('#')[0]!)))));
  expect(docs.filter(file => !linked.has(file) && !isForward(file))).toEqual([]);
});
