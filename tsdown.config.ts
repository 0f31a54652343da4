import {readdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {defineConfig} from 'tsdown';

/** The maps of declarations are not shipped, so the declarations must not name them. */
function forgetDeclarationMaps(folder: string): void {
  for (const name of readdirSync(folder).filter(file => /\.d\.c?ts$/.test(file))) {
    const file = join(folder, name);
    writeFileSync(file, readFileSync(file, 'utf8').replace(/\n\/\/# sourceMappingURL=.*\n?$/, '\n'));
  }
}

const shared = {platform: 'neutral', target: 'es2022'} as const;

export default defineConfig([
  {
    ...shared,
    entry: ['src/index.ts', 'src/node.ts', 'src/graph.ts', 'src/transformers.ts', 'src/quickstart.ts', 'src/cli.ts'],
    format: ['esm', 'cjs'],
    sourcemap: true,
    dts: {sourcemap: false},
    deps: {neverBundle: [/^node:/]},
    hooks: {'build:done': ({options}) => forgetDeclarationMaps(options.outDir)},
  },
  {
    // One file for a script tag beside that of tfjs, whose names are in the global `tf`.
    ...shared,
    entry: {'tfjs-lora': 'src/script.ts'},
    format: 'iife',
    globalName: 'tfjsLoRA',
    outputOptions: {globals: {'@tensorflow/tfjs': 'tf'}, entryFileNames: '[name].min.js'},
    deps: {neverBundle: ['@tensorflow/tfjs']},
    minify: true,
    dts: false,
    clean: false,
  },
]);
