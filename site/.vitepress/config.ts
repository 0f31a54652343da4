import {existsSync, readdirSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {type DefaultTheme, defineConfig} from 'vitepress';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../..');
const EXAMPLES = ['superres', 'browser', 'swap', 'attention', 'encoder', 'sentences', 'graph', 'methods'];
const KINDS = {
  functions: 'Functions',
  classes: 'Classes',
  interfaces: 'Interfaces',
  'type-aliases': 'Types',
  variables: 'Values',
};
const DOORS = {
  node: 'tfjs-lora',
  graph: 'tfjs-lora/graph',
  transformers: 'tfjs-lora/transformers',
  quickstart: 'tfjs-lora/quickstart',
};

function docs(...pages: [text: string, name: string][]): DefaultTheme.SidebarItem[] {
  return pages.map(([text, name]) => ({text, link: `/docs/${name}`}));
}

/** The pages that typedoc wrote, by door and kind. */
function apiPages(): DefaultTheme.SidebarItem[] {
  return Object.entries(DOORS).map(([door, text]) => ({
    text,
    link: `/docs/api/${door}/`,
    collapsed: true,
    items: Object.entries(KINDS).flatMap(([folder, kind]) => {
      const path = join(ROOT, 'docs/api', door, folder);
      const names = existsSync(path) ? readdirSync(path).map(name => name.replace('.md', '')) : [];
      const items = names.map(name => ({text: name, link: `/docs/api/${door}/${folder}/${name}`}));
      // With a link the item itself is no button, in which its arrow would be another.
      const link = `/docs/api/${door}/#${folder}`;
      return items.length === 0 ? [] : [{text: kind, link, collapsed: true, items}];
    }),
  }));
}

export default defineConfig({
  title: 'tfjs-lora',
  description: 'LoRA fine-tuning for TensorFlow.js',
  lang: 'en',
  // The pages are the files of the repository, where their links lead to each other.
  srcDir: '..',
  srcExclude: ['**/node_modules/**', 'test/**', 'dist/**', '**/output/**', 'bench/results/**'],
  outDir: './.vitepress/dist',
  cacheDir: './.vitepress/cache',
  rewrites: {
    'README.md': 'index.md',
    'examples/README.md': 'examples/index.md',
    'bench/README.md': 'bench/index.md',
    ...Object.fromEntries(EXAMPLES.map(name => [`examples/${name}/README.md`, `examples/${name}/index.md`])),
  },
  head: [['link', {rel: 'icon', href: 'data:,'}]],
  lastUpdated: false,
  ignoreDeadLinks: [/\/LICENSE$/, /\.(ts|json)$/, /\/examples\/(swap|shared)\/$/],
  markdown: {
    theme: {light: 'github-light-high-contrast', dark: 'github-dark-high-contrast'},
    config: md => {
      // A link to a README leads to the page that stands for it.
      md.core.ruler.push('readme-links', state => {
        const links = state.tokens.flatMap(({children}) => children ?? []).filter(({type}) => type === 'link_open');
        for (const link of links) {
          const href = link.attrGet('href') ?? '';
          if (!/^https?:/.test(href)) {
            link.attrSet('href', href.replace(/README\.md(?=#|$)/, 'index.md'));
          }
        }
      });
    },
  },
  themeConfig: {
    search: {
      provider: 'local',
      options: {
        miniSearch: {searchOptions: {combineWith: 'AND', fuzzy: 0.1, prefix: true}},
        // The list of changes has every word.
        _render: (text, env, md) => (env.relativePath === 'CHANGELOG.md' ? '' : md.render(text, env)),
      },
    },
    outline: [2, 3],
    nav: [
      {text: 'Quick start', link: '/docs/quick-start'},
      {text: 'Try it here', link: '/site/try'},
      {text: 'Examples', link: '/examples/'},
      {text: 'API', link: '/docs/api/'},
    ],
    sidebar: [
      {
        text: 'Start',
        items: [
          {text: 'Overview', link: '/'},
          ...docs(['Quick start', 'quick-start']),
          {text: 'Try it here', link: '/site/try'},
          ...docs(['Targets, ranks and heads', 'choosing'], ['Methods', 'methods'], ['Layers', 'layers']),
        ],
      },
      {
        text: 'Training',
        items: docs(
          ['Recipe', 'training'],
          ['Tools', 'training-tools'],
          ['Ranks of small heads', 'small-heads'],
          ['Performance', 'performance'],
          ['Memory', 'memory'],
          ['Backends', 'backends'],
          ['Bundlers', 'bundlers'],
          ['React and workers', 'react'],
          ['Browsers and runtimes', 'runtimes'],
          ['What an import changes', 'what-import-changes'],
        ),
      },
      {
        text: 'Models',
        items: docs(
          ['Your own layers', 'own-layers'],
          ['GraphModels', 'graphModels'],
          ['Transformers', 'transformers'],
        ),
      },
      {
        text: 'Adapters',
        items: docs(
          ['Saving and loading', 'saving'],
          ['Adapters as values', 'adapters'],
          ['PEFT', 'peft'],
          ['Command line', 'command-line'],
        ),
      },
      {
        text: 'Examples',
        items: [{text: 'All', link: '/examples/'}, ...EXAMPLES.map(name => ({text: name, link: `/examples/${name}/`}))],
      },
      {
        text: 'More',
        items: [
          ...docs(['Troubleshooting', 'troubleshooting'], ['Architecture', 'architecture']),
          {text: 'Contributing', link: '/CONTRIBUTING'},
          {text: 'Security', link: '/SECURITY'},
          {text: 'Changes', link: '/CHANGELOG'},
        ],
      },
      {text: 'API', link: '/docs/api/', collapsed: true, items: apiPages()},
    ],
  },
  vite: {
    resolve: {
      alias: [
        {find: /^tfjs-lora$/, replacement: join(ROOT, 'src/index.ts')},
        {find: /^tfjs-lora\/quickstart$/, replacement: join(ROOT, 'src/quickstart.ts')},
      ],
    },
    build: {chunkSizeWarningLimit: 3000},
  },
});
