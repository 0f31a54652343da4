import {dirname, join, relative} from 'node:path';
import ts from 'typescript';
import type {MarkdownRenderer} from 'vitepress';
import {NOT_RUN} from './notRun';

/** What VitePress knows of the page that it renders. */
interface Page {
  relativePath: string;
}

/** A page's name in `test/docs/surroundings`, or `undefined` of a page whose code is not of these. */
function nameOf(path: string): string | undefined {
  const [, page = ''] = /^(overview|(?:docs|examples)\/[\w-]+)(?:\/index)?\.md$/.exec(path) ?? [];
  return page === '' ? undefined : page.replace('overview', 'README').replace('docs/', '').replace('/', '-');
}

/** Code without its types. Text that has none stays as it is written. */
function withoutTypes(text: string): string {
  const isPlain = ts.transpileModule(text, {fileName: 'block.js', reportDiagnostics: true}).diagnostics?.length === 0;
  return isPlain ? text : ts.transpileModule(text, {compilerOptions: {target: ts.ScriptTarget.ESNext}}).outputText;
}

/** Gives the blocks of TypeScript that run in a tab a button that runs them. */
export function addRun(md: MarkdownRenderer): void {
  const fence = md.renderer.rules.fence!;
  md.renderer.rules.fence = (tokens, i, options, env, self) => {
    const html = fence(tokens, i, options, env, self);
    const isCode = (info: string) => /^ts\b/.test(info);
    const name = nameOf((env as Page).relativePath);
    const reasons = NOT_RUN[name ?? ''];
    const {info, content} = tokens.at(i)!;
    const isLeftOut = typeof reasons === 'object' && Object.keys(reasons).some(start => content.startsWith(start));
    if (name === undefined || !isCode(info) || typeof reasons === 'string' || isLeftOut) {
      return html;
    }
    const index = tokens.slice(0, i).filter(({type, info}) => type === 'fence' && isCode(info)).length;
    const code = encodeURIComponent(withoutTypes(content));
    return `<RunBlock page="${name}" :index="${index}" code="${code.replaceAll("'", '%27')}">${html}</RunBlock>`;
  };
}

/** Lets what the code of pages takes for granted read files of the tests in a tab. */
export function filesOfTests(root: string) {
  const isOfTests = (path: string | undefined) => path?.startsWith(join(root, 'test/')) === true;
  return {
    name: 'files-of-tests',
    enforce: 'pre' as const,
    resolveId: (name: string, importer?: string) =>
      /^node:(?:fs|path)$/.test(name) && isOfTests(importer) ? join(root, 'site/nodeFiles.ts') : undefined,
    transform: (code: string, path: string) =>
      isOfTests(path)
        ? code.replaceAll('process.cwd()', "''").replaceAll('__dirname', JSON.stringify(dirname(relative(root, path))))
        : undefined,
  };
}
