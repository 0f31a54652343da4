import {dirname} from 'node:path';
import {fileURLToPath} from 'node:url';
import {mergeConfig, type Plugin, type UserConfig} from 'vite';
import {builtEntries} from '../../../scripts/entries';

/** What the index.html of a page begins and ends with. It holds the page's title, description, and lead alone. */
const shell: Plugin = {
  name: 'page',
  transformIndexHtml: {
    order: 'pre',
    handler: text => {
      const [, title, description, lead] = /<title>(.*?)<\/title>\s*(<meta[^>]*>)(.*)/s.exec(text)!;
      return `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <meta name="color-scheme" content="light dark" />
    ${description}
    <title>${title} · tfjs-lora</title>
    <link rel="icon" href="data:," />
    <link rel="stylesheet" href="style.css" />
    <script type="module" src="src/main.ts"></script>
  </head>
  <body>
    <header>
      <div><p class="eyebrow">tfjs-lora</p><h1>${title}</h1>${lead}</div>
    </header>
    <main><noscript>This page needs JavaScript.</noscript></main>
  </body>
</html>`;
    },
  },
};

/** A module whose default export is some data. */
export function dataModule(name: string, data: () => unknown): Plugin {
  const id = `virtual:${name}`;
  return {
    name: id,
    resolveId: asked => (asked === id ? `\0${id}` : undefined),
    load: asked => (asked === `\0${id}` ? `export default ${JSON.stringify(data())}` : undefined),
  };
}

/** The config of the page in the folder of a file: what all pages have in common, and what is its own. */
export function pageConfig(file: string, own: UserConfig = {}): UserConfig {
  const host = '127.0.0.1';
  const common: UserConfig = {
    root: dirname(fileURLToPath(file)),
    base: './', // the built page works in any folder
    // As in a project that has installed the library.
    resolve: {alias: builtEntries(fileURLToPath(new URL('../../..', import.meta.url)))},
    plugins: [shell],
    server: {host},
    preview: {host},
    worker: {format: 'es'},
    // TensorFlow.js is large.
    build: {outDir: 'output/site', emptyOutDir: true, chunkSizeWarningLimit: 3000},
  };
  return mergeConfig(common, own);
}
