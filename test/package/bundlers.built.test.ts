import {spawnSync} from 'node:child_process';
import {existsSync} from 'node:fs';
import {join} from 'node:path';

const ROOT = join(__dirname, '../..');

interface Registered {
  classes: string[];
  kernels: string[];
}

/** Stand-ins for layers of Keras. A bundled page has them if it uses `loadKerasModel`: docs/converting.md says so. */
const OF_KERAS = [
  ...['Bidirectional', 'FusedDepthwiseConv2D', 'GRU', 'GRUCell', 'KerasLayer', 'SeparableConv1D', 'Subtract'],
  ...['exponential', 'hardSilu', 'leakyRelu', 'relu6Sigmoid'],
].map(name => `tfjs-lora>${name}`);

describe("a bare import 'tfjs-lora'", () => {
  let results: Record<string, Registered>;

  beforeAll(() => {
    if (!existsSync(join(ROOT, 'dist/index.js'))) {
      throw new Error('There is no build to test. Run `npm run build` first; `npm test` does.');
    }
    // Outside of jest, whose modules the bundlers do not get on with.
    const {stdout, stderr} = spawnSync(process.execPath, ['--import', 'tsx', join(__dirname, 'bundle.ts')], {
      cwd: ROOT,
      encoding: 'utf8',
    });
    const line = stdout.split('\n').find(text => text.startsWith('RESULTS '));
    if (line === undefined) {
      throw new Error(`The script failed: ${stderr}`);
    }
    results = JSON.parse(line.slice('RESULTS '.length)) as Record<string, Registered>;
  }, 120_000);

  test('registers classes and kernels where nothing is bundled', () => {
    expect(results.none!.classes).toEqual(
      expect.arrayContaining(['tfjs-lora>LoRADense', 'tfjs-lora>LoRAWeights', 'tfjs-lora>FrozenLayer']),
    );
    expect(results.none!.kernels.length).toBeGreaterThan(0);
  });

  test.each(['vite', 'webpack', 'esbuild', 'rollup'])('registers the same where %s bundles it', bundler => {
    const {classes, kernels} = results.none!;
    expect(results[bundler]).toEqual({classes: classes.filter(name => !OF_KERAS.includes(name)), kernels});
  });

  test('registers layers of Keras too where a bundled page loads Keras models', () => {
    expect(results.none!.classes).toEqual(expect.arrayContaining(OF_KERAS));
    expect(results.withKeras).toEqual(results.none);
  });
});
