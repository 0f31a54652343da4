import {execFile} from 'node:child_process';
import {promisify} from 'node:util';
import {bundled} from '../bundled';

// Each order of imports needs a separate process.

jest.setTimeout(60_000);

const LIBRARY = bundled('src/node.ts');

/** What a program prints that ends by itself, as JSON. */
async function run(program: string): Promise<unknown> {
  const code = `
    import * as tf from '@tensorflow/tfjs';
    const lib = () => import('${LIBRARY}');
    const print = value => console.log(JSON.stringify(value));
    const product = () => {
      const a = tf.ones([256, 512]), b = tf.fill([512, 256], 2);
      return tf.tidy(() => tf.matMul(a, b).dataSync()[0]);
    };
    ${program}
  `;
  const args = ['--input-type=module', '--eval', code];
  const {stdout} = await promisify(execFile)(process.execPath, args, {timeout: 50_000});
  return JSON.parse(stdout);
}

test.each([
  ['the library first', "const {startWasm} = await lib(); await import('@tensorflow/tfjs-backend-wasm');"],
  ['the backend first', "await import('@tensorflow/tfjs-backend-wasm'); const {startWasm} = await lib();"],
])('threads start with %s, and do not keep the process alive', async (_, imports) => {
  const program = `
    ${imports}
    const start = await startWasm({threads: 2});
    print({start, shared: tf.backend().wasm.HEAPU8.buffer instanceof SharedArrayBuffer, product: product()});
  `;
  expect(await run(program)).toEqual({start: {threads: 2}, shared: true, product: 1024});
});

test('one thread computes where the threaded build does not start, and startWasm says why', async () => {
  const program = `
    import {setWasmPaths} from '@tensorflow/tfjs-backend-wasm';
    import {copyFileSync, mkdtempSync} from 'node:fs';
    import {tmpdir} from 'node:os';
    const folder = mkdtempSync(tmpdir() + '/wasm-') + '/';
    for (const name of ['tfjs-backend-wasm.wasm', 'tfjs-backend-wasm-simd.wasm']) {
      copyFileSync('node_modules/@tensorflow/tfjs-backend-wasm/dist/' + name, folder + name);
    }
    setWasmPaths(folder);
    console.warn = console.error = () => {};
    const {startWasm} = await lib();
    const {threads, reason} = await startWasm({threads: 2});
    print({threads, reason, product: product()});
  `;
  expect(await run(program)).toEqual({
    threads: 1,
    reason: expect.stringContaining('did not start') as unknown,
    product: 1024,
  });
});

test('an uncaught error exits with 1 and shows its own line, also after another number of threads', async () => {
  const code = `
    const {startWasm} = await import('${LIBRARY}');
    process.on('exit', () => console.log(process.listenerCount('unhandledRejection')));
    await startWasm({threads: 1});
    process.on('unhandledRejection', error => { throw error; });
    await startWasm({threads: 2});
    console.log(process.listenerCount('uncaughtException'));
    setTimeout(() => { throw new Error('on purpose'); });
  `;
  const failed = (await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', code]).catch(
    (error: unknown) => error,
  )) as {code: number; stdout: string; stderr: string};
  expect(failed).toMatchObject({code: 1, stdout: '0\n1\n'});
  expect(failed.stderr).toContain('Error: on purpose');
  expect(failed.stderr.length).toBeLessThan(1000);
});
