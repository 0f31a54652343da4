import {mkdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {defineConfig, type UserConfig} from 'tsdown';
import {mendDeclarations} from './scripts/declarations';
import {sharedFiles} from './scripts/chunks';
import {ENTRIES, NODE_ENTRIES} from './scripts/entries';
import {GLOBAL, shareModules} from './scripts/scriptTags';

/**
 * Writes the entries that Node takes in place of those of a page, as `package.json` says: they load what only Node has
 * first, files by their paths and TensorFlow's backend, so that each entry does the same alone.
 */
function writeNodeEntries(folder: string): void {
  mkdirSync(join(folder, 'node'), {recursive: true});
  for (const name of NODE_ENTRIES) {
    const file = join(folder, 'node', name);
    writeFileSync(`${file}.js`, `import '../node.js';\nexport * from '../${name}.js';\n`);
    writeFileSync(`${file}.cjs`, `require('../node.cjs');\nmodule.exports = require('../${name}.cjs');\n`);
  }
}

/**
 * A page that says no charset is read as Latin-1 or as what the machine has, and its scripts with it. The characters
 * that are not ASCII stand in strings, templates and patterns, where an escape means the same.
 */
function escapeToASCII(file: string): void {
  const escaped = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  writeFileSync(file, readFileSync(file, 'utf8').replace(/[^\0-\x7f]/g, escaped));
}

const shared = {platform: 'neutral', target: 'es2022'} as const;

/** A large module that the package has once, as an ES module: both builds import it when they need it. */
const DATA = 'wordBaseData';

const importsData = {
  name: 'imports-data',
  resolveId: {
    filter: {id: new RegExp(`^\\./${DATA}$`)},
    handler: (id: string) => ({id: `${id}.js`, external: true}),
  },
};

const sources = (name: string) => join(import.meta.dirname, `src/${name}.ts`);
const {exporting, taking, check, globalOf} = shareModules(sources('script'), sources('scriptLanguage'));

/**
 * A file for a script tag after that of tfjs, whose names are in the global `tf`. Optional peers are imported when they
 * are needed: by the page's import map.
 */
function scriptTag(file: string, entry: string, plugins: UserConfig['plugins'], banner = ''): UserConfig {
  return {
    ...shared,
    entry: {[file]: `src/${entry}.ts`},
    format: 'iife',
    globalName: GLOBAL,
    plugins,
    outputOptions: {
      banner,
      extend: banner !== '',
      globals: id => (id === '@tensorflow/tfjs' ? 'tf' : globalOf(id)),
      entryFileNames: '[name].min.js',
    },
    deps: {neverBundle: ['@tensorflow/tfjs', /^@huggingface\//]},
    minify: true,
    dts: false,
    clean: false,
    hooks: {
      'build:done': ({options}) => {
        escapeToASCII(join(options.outDir, `${file}.min.js`));
      },
    },
  };
}

export default defineConfig([
  {
    ...shared,
    entry: ['index', 'cli', ...ENTRIES].map(name => `src/${name}.ts`),
    format: ['esm', 'cjs'],
    // Declarations have the comments. The modules are not minified, so maps would only double the package.
    sourcemap: false,
    deps: {neverBundle: [/^node:/]},
    plugins: [importsData],
    // Comments that name modules would only make the package larger.
    inputOptions: options => ({...options, experimental: {...options.experimental, attachDebugInfo: 'none'}}),
    outputOptions: {comments: {jsdoc: false}, codeSplitting: {groups: sharedFiles(join(import.meta.dirname, 'src'))}},
    hooks: {
      'build:done': ({options}) => {
        mendDeclarations(options.outDir, ['index', ...ENTRIES]);
        writeNodeEntries(options.outDir);
        // Node runs the command, and nothing else imports it.
        ['cli.cjs', 'cli.d.ts', 'cli.d.cts'].forEach(name => {
          rmSync(join(options.outDir, name), {force: true});
        });
      },
    },
  },
  {
    ...shared,
    entry: {[DATA]: `src/extensions/words/${DATA}.ts`},
    format: 'esm',
    outExtensions: () => ({js: '.js'}),
    dts: false,
    clean: false,
  },
  scriptTag('tfjs-lora', 'script', [exporting]),
  scriptTag('tfjs-lora-language', 'scriptLanguage', [taking], check),
]);
