import {readFileSync} from 'node:fs';

const {exports} = JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8'));
const names = Object.keys(exports).flatMap(path => /^\.\/(\w+)$/.exec(path)?.[1] ?? []);

export default {
  entryPoints: names.map(name => `src/${name}.ts`),
  out: 'docs/api',
  plugin: ['typedoc-plugin-markdown'],
  outputFileStrategy: 'members',
  entryFileName: 'index',
  modulesFileName: 'index',
  membersWithOwnFile: ['Class', 'Function', 'Interface', 'TypeAlias', 'Variable'],
  hideBreadcrumbs: true,
  hidePageHeader: true,
  sanitizeComments: true,
  useCodeBlocks: true,
  expandObjects: false,
  parametersFormat: 'table',
  excludeExternals: true,
  excludePrivate: true,
  excludeProtected: true,
  name: 'API',
  readme: 'none',
  validation: {notExported: false},
  disableSources: true,
};
