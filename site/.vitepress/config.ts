import {existsSync, readdirSync} from 'node:fs';
import {dirname, join, posix} from 'node:path';
import {fileURLToPath} from 'node:url';
import {type DefaultTheme, defineConfig} from 'vitepress';
import {wasmThreads} from '../../examples/shared/wasmThreads';
import {ENTRIES, entrySources, importName} from '../../scripts/entries';
import {addRun, filesOfTests} from './runBlocks';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../..');
const EXAMPLES = readdirSync(join(ROOT, 'examples')).filter(name =>
  existsSync(join(ROOT, `examples/${name}/README.md`)),
);
const KINDS = {
  functions: 'Functions',
  classes: 'Classes',
  interfaces: 'Interfaces',
  'type-aliases': 'Types',
  variables: 'Values',
};

function docs(...pages: [text: string, name: string][]): DefaultTheme.SidebarItem[] {
  return pages.map(([text, name]) => ({text, link: `/docs/${name}`}));
}

/** The pages that typedoc wrote, by entry point and kind. */
function apiPages(): DefaultTheme.SidebarItem[] {
  return ENTRIES.map(entry => ({
    text: importName(entry),
    link: `/docs/api/${entry}/`,
    collapsed: true,
    items: Object.entries(KINDS).flatMap(([folder, kind]) => {
      const path = join(ROOT, 'docs/api', entry, folder);
      const names = existsSync(path) ? readdirSync(path).map(name => name.replace('.md', '')) : [];
      const items = names.map(name => ({text: name, link: `/docs/api/${entry}/${folder}/${name}`}));
      // With a link the item itself is no button, in which its arrow would be another.
      const link = `/docs/api/${entry}/#${folder}`;
      return items.length === 0 ? [] : [{text: kind, link, collapsed: true, items}];
    }),
  }));
}

/** What VitePress knows of the page that it renders. */
interface Page {
  /** Where it will stand in the site. */
  relativePath: string;
}

/** A link to a README leads to the page that stands for it, and the opening page stands above its folder. */
function linkToPage(href: string, {relativePath}: Page): string {
  const [file = '', fragment] = href.split('#');
  if (/^https?:/.test(href)) {
    return href;
  }
  const path = relativePath === 'index.md' ? file.replace(/^\.\.\//, '') : file;
  const isRoot = posix.join(posix.dirname(relativePath), path) === 'README.md';
  const page = path.replace(/README\.md$/, isRoot ? 'overview.md' : 'index.md');
  return fragment === undefined ? page : `${page}#${fragment}`;
}

// Pictures of pages are there twice. GitHub shows one by the system's setting, and the site by its own switch.
const [LIGHT, DARK] = ['-light.jpg', '-dark.jpg'];
const PICTURE = /<picture>[^]*?<img src="([^"]*)-light\.jpg" alt="([^"]*)">\s*<\/picture>/g;

function inBothLights(_: string, path: string, alt: string): string {
  return ['light', 'dark'].map(mode => `<img class="${mode}-only" src="${path}-${mode}.jpg" alt="${alt}">`).join('');
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
    'site/index.md': 'index.md',
    'README.md': 'overview.md',
    'examples/README.md': 'examples/index.md',
    'bench/README.md': 'bench/index.md',
    ...Object.fromEntries(EXAMPLES.map(name => [`examples/${name}/README.md`, `examples/${name}/index.md`])),
  },
  head: [['link', {rel: 'icon', href: 'data:,'}]],
  lastUpdated: false,
  ignoreDeadLinks: [/\/LICENSE$/, /\.(ts|json|py)$/, /\/examples\/(swap|shared)\/$/],
  markdown: {
    theme: {light: 'github-light-high-contrast', dark: 'github-dark-high-contrast'},
    config: md => {
      addRun(md);
      md.core.ruler.push('readme-links', ({tokens, env}) => {
        const links = tokens.flatMap(({children}) => children ?? []).filter(({type}) => type === 'link_open');
        for (const link of links) {
          link.attrSet('href', linkToPage(link.attrGet('href') ?? '', env as Page));
        }
      });
      md.core.ruler.push('pictures', ({tokens}) => {
        for (const token of tokens) {
          token.content = token.type === 'html_block' ? token.content.replace(PICTURE, inBothLights) : token.content;
          token.children = (token.children ?? []).flatMap(child => {
            const source = child.type === 'image' ? (child.attrGet('src') ?? '') : '';
            if (!source.endsWith(LIGHT)) {
              return [child];
            }
            child.attrSet('class', 'light-only');
            const twin = Object.assign(Object.create(child) as typeof child, {
              attrs: child.attrs!.map(([name, value]) => [name, value]),
            });
            twin.attrSet('class', 'dark-only');
            twin.attrSet('src', source.replace(LIGHT, DARK));
            return [child, twin];
          });
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
          {text: 'Overview', link: '/overview'},
          ...docs(['Quick start', 'quick-start']),
          {text: 'Try it here', link: '/site/try'},
          ...docs(['Pictures', 'pictures'], ['Texts', 'texts']),
          ...docs(['Targets, ranks and heads', 'choosing'], ['Methods', 'methods'], ['The LoRA layers', 'lora-layers']),
        ],
      },
      {
        text: 'Training',
        items: [
          ...docs(
            ['Settings by task', 'recipes'],
            ['Recipe', 'training'],
            ['Tools', 'training-tools'],
            ['Ranks of small heads', 'small-heads'],
            ['Performance', 'performance'],
            ['Measurements', 'measurements'],
          ),
          {text: 'Measure your device', link: '/site/measure'},
          ...docs(['Memory', 'memory']),
        ],
      },
      {
        text: 'Where it runs',
        items: docs(
          ['Where to run the result', 'deploy'],
          ['Backends', 'backends'],
          ['Backend tests', 'backend-tests'],
          ['Browsers and runtimes', 'runtimes'],
          ['Bundlers', 'bundlers'],
          ['React and workers', 'react'],
          ['What an import changes', 'what-import-changes'],
        ),
      },
      {
        text: 'Models',
        items: docs(
          ['Which model for which task', 'models'],
          ['From Keras and PyTorch', 'converting'],
          ['Your own layers', 'own-layers'],
          ['GraphModels', 'graphModels'],
          ['Tested GraphModels', 'graphModels-tests'],
          ['ONNX', 'onnx'],
          ['Transformers', 'transformers'],
          ['Landmarks', 'landmarks'],
          ['Sound', 'sound'],
          ['Quantised bases', 'quantized'],
          ['Language models', 'language'],
          ['Preferences', 'preferences'],
          ['Rewards', 'rewards'],
        ),
      },
      {
        text: 'Adapters',
        items: docs(
          ['Saving and loading', 'saving'],
          ['Switching and combining', 'adapters'],
          ['PEFT', 'peft'],
          ['Federated learning', 'federated'],
          ['Scaling a federation', 'scale'],
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
          ...docs(
            ['Glossary', 'glossary'],
            ['Comparison', 'comparison'],
            ['Coming from', 'coming-from'],
            ['You asked', 'you-asked'],
            ['Is TensorFlow.js maintained?', 'maintained'],
            ['Troubleshooting', 'troubleshooting'],
            ['Stability', 'stability'],
            ['Architecture', 'architecture'],
          ),
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
      alias: entrySources(ROOT),
    },
    plugins: [wasmThreads(), filesOfTests(ROOT)],
    worker: {format: 'es', plugins: () => [wasmThreads()]},
    build: {chunkSizeWarningLimit: 3000},
  },
});
