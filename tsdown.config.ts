import {defineConfig} from 'tsdown';

export default defineConfig({
  entry: ['src/index.ts', 'src/node.ts', 'src/graph.ts'],
  format: ['esm', 'cjs'],
  platform: 'neutral',
  target: 'es2022',
  dts: true,
  sourcemap: true,
  deps: {neverBundle: [/^node:/]},
});
