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

export default defineConfig({
  entry: ['src/index.ts', 'src/node.ts', 'src/graph.ts', 'src/transformers.ts'],
  format: ['esm', 'cjs'],
  platform: 'neutral',
  target: 'es2022',
  dts: {sourcemap: false},
  sourcemap: true,
  deps: {neverBundle: [/^node:/]},
  hooks: {'build:done': ({options}) => forgetDeclarationMaps(options.outDir)},
});
