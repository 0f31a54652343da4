import {spawnSync} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {createServer, type Server} from 'node:http';
import type {AddressInfo} from 'node:net';
import {tmpdir} from 'node:os';
import {basename, join} from 'node:path';
import type {Browser, Page} from 'playwright-core';
import {fromSafetensors} from 'tfjs-lora';
import {describeInBrowser, launchBrowser} from '../examples/site';
import {useBackend} from '../helpers';
import type {} from './page/page';

jest.setTimeout(120_000);

const PLACES = ['indexeddb://tuned', 'localstorage://tuned'];

/** Builds the page into a folder, minified as pages are. */
function buildPage(folder: string): void {
  const vite = join(__dirname, '../../node_modules/vite/bin/vite.js');
  const options = ['--outDir', folder, '--assetsDir', '.', '--logLevel', 'error'];
  const {status, stderr} = spawnSync(process.execPath, [vite, 'build', join(__dirname, 'page'), ...options], {
    encoding: 'utf8',
  });
  if (status !== 0) {
    throw new Error(`The page could not be built: ${stderr}`);
  }
}

describeInBrowser('in a browser', () => {
  let browser: Browser;
  let server: Server;
  let url: string;
  let folder: string;
  let page: Page;

  beforeAll(async () => {
    await useBackend('cpu');
    folder = mkdtempSync(join(tmpdir(), 'storage-'));
    buildPage(folder);
    server = createServer((request, response) => {
      const name = basename(request.url ?? '/') || 'index.html';
      response.setHeader('content-type', name.endsWith('.js') ? 'text/javascript' : 'text/html');
      response.end(readFileSync(join(folder, name)));
    });
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    browser = await launchBrowser();
  });

  afterAll(async () => {
    await browser.close();
    server.close();
    rmSync(folder, {recursive: true});
  });

  beforeEach(async () => {
    page = await (await browser.newContext()).newPage();
    await page.goto(url);
    await page.waitForFunction(() => 'failure' in window);
    await page.evaluate(() => window.tf.setBackend('cpu'));
  });

  afterEach(() => page.context().close());

  describe.each(PLACES)('at %s', place => {
    const valueAt = () => page.evaluate(at => window.valueAt(at), place);
    const save = (value: number) =>
      page.evaluate(([at, number]) => window.failure(window.lora.saveAdapter(window.adapterOf(number), at)), [
        place,
        value,
      ] as const);

    test('an adapter is saved, replaced, listed, and removed by tfjs', async () => {
      await save(1);
      expect(await save(2)).toBe('It succeeded.');
      expect(await valueAt()).toBe(2);
      const info = await page.evaluate(async at => (await window.tf.io.listModels())[at], place);
      expect(info).toMatchObject({modelTopologyType: 'JSON', weightDataBytes: 20});
      await page.evaluate(at => window.tf.io.removeModel(at), place);
      expect(await page.evaluate(at => window.failure(window.lora.loadAdapter(at)), place)).toMatch(
        /LoRAError: There is no "tuned"/,
      );
    });

    test('what tfjs saved is read, and tfjs reads what is saved', async () => {
      const values = await page.evaluate(async at => {
        const [theirs] = window.tf.io.getSaveHandlers(at);
        let saved: unknown;
        const catching = window.tf.io.withSaveHandler(artifacts => {
          saved = artifacts;
          return theirs!.save!(artifacts);
        });
        await window.lora.saveAdapter(window.adapterOf(5), catching);
        const read = await window.valueAt(at);
        await window.lora.saveAdapter(window.adapterOf(6), at);
        const artifacts = await window.tf.io.getLoadHandlers(at)[0]!.load!();
        const [first] = new Float32Array(artifacts.weightData as ArrayBuffer);
        const keys = (object: unknown) => Object.keys(object as object).sort();
        return {read, first, same: JSON.stringify(keys(saved)) === JSON.stringify(keys(artifacts))};
      }, place);
      expect(values).toEqual({read: 5, first: 6, same: true});
    });

    test("a handler of tfjs's own is replaced by one that loses nothing", async () => {
      const value = await page.evaluate(async at => {
        const [handler] = window.tf.io.getSaveHandlers(at);
        // Its own save does nothing that could be seen.
        handler!.save = () => Promise.reject(new Error('not this one'));
        await window.lora.saveAdapter(window.adapterOf(7), handler!);
        return window.valueAt(at);
      }, place);
      expect(value).toBe(7);
    });

    test('a stock model is still saved and loaded by tfjs beside it', async () => {
      const sum = await page.evaluate(async at => {
        await window.lora.saveAdapter(window.adapterOf(1), at);
        const {tf} = window;
        const model = tf.sequential({
          layers: [tf.layers.dense({units: 1, inputShape: [2], kernelInitializer: 'ones'})],
        });
        await model.save(`${at}-model`);
        const again = await tf.loadLayersModel(`${at}-model`);
        return (again.predict(tf.ones([1, 2])) as import('@tensorflow/tfjs').Tensor).dataSync()[0];
      }, place);
      expect(sum).toBe(2);
      expect(await valueAt()).toBe(1);
    });

    test('a name that ends in .safetensors has that format', async () => {
      const format = await page.evaluate(async at => {
        await window.lora.saveAdapter(window.adapterOf(4), `${at}.safetensors`, {dtype: 'float16'});
        const artifacts = await window.tf.io.getLoadHandlers(`${at}.safetensors`)[0]!.load!();
        return {topology: artifacts.modelTopology, value: await window.valueAt(`${at}.safetensors`)};
      }, place);
      expect(format).toEqual({topology: expect.objectContaining({format: 'safetensors'}), value: 4});
    });
  });

  describe('IndexedDB', () => {
    const place = 'indexeddb://tuned';

    test.each([
      ['a put that throws', 'throw'],
      ['a transaction that is aborted after its puts', 'abort'],
      ['a put that fails', 'fail'],
    ])('%s leaves the earlier adapter, and says so', async (_, how) => {
      const result = await page.evaluate(
        async ([at, what]) => {
          await window.lora.saveAdapter(window.adapterOf(1), at);
          // eslint-disable-next-line @typescript-eslint/unbound-method -- it is called with `this`
          const {put} = IDBObjectStore.prototype;
          IDBObjectStore.prototype.put = function (this: IDBObjectStore, value: unknown) {
            if (this.name === 'models_store' && what === 'throw') {
              throw new DOMException('too large', 'DataCloneError');
            }
            if (this.name === 'models_store' && what === 'fail') {
              // A key that is there already: the request fails, as it does when there is no room.
              return this.add(value);
            }
            const request = put.call(this, value);
            if (what === 'abort') {
              request.onsuccess = () => this.name === 'models_store' && this.transaction.abort();
            }
            return request;
          };
          const failure = await window.failure(window.lora.saveAdapter(window.adapterOf(2), at));
          IDBObjectStore.prototype.put = put;
          const {tf} = window;
          return {failure, value: await window.valueAt(at), listed: Object.keys(await tf.io.listModels())};
        },
        [place, how] as const,
      );
      expect(result.failure).toMatch(
        /^LoRAError: Cannot save "tuned" to IndexedDB: .+ What was there before is still there\.$/,
      );
      expect(result).toMatchObject({value: 1, listed: [place]});
    });

    test('a database without the stores of tfjs is told', async () => {
      const failure = await page.evaluate(async at => {
        await new Promise(
          resolve =>
            (indexedDB.open('tensorflowjs', 1).onsuccess = ({target}) => {
              (target as IDBOpenDBRequest).result.close();
              resolve(null);
            }),
        );
        const save = await window.failure(window.lora.saveAdapter(window.adapterOf(2), at));
        return [save, await window.failure(window.lora.loadAdapter(at))];
      }, place);
      expect(failure[0]).toMatch(/^LoRAError: Cannot save "tuned" to IndexedDB: .*object stores/);
      expect(failure[1]).toMatch(/^LoRAError: Cannot load "tuned" from IndexedDB: .*object stores/);
    });
  });

  describe('local storage', () => {
    const place = 'localstorage://tuned';

    test('a save that does not fit leaves the earlier adapter, or nothing, and says so', async () => {
      const result = await page.evaluate(async at => {
        const large = () => window.failure(window.lora.saveAdapter(window.adapterOf(2, 2_000_000), at));
        const first = await large();
        const left = Object.keys(localStorage);
        await window.lora.saveAdapter(window.adapterOf(1, 800_000), at);
        return {first, left, second: await large(), value: await window.valueAt(at)};
      }, place);
      expect(result.first).toMatch(/^LoRAError: Cannot save "tuned" to local storage: .*quota.* Nothing was saved\.$/);
      expect(result.left).toEqual([]);
      expect(result.second).toMatch(/indexeddb:\/\/ has room for more\. What was there before is still there\.$/);
      expect(result.value).toBe(1);
    });

    test('parts of two saves are refused', async () => {
      const failure = await page.evaluate(async at => {
        await window.lora.saveAdapter(window.adapterOf(1), at);
        const key = 'tensorflowjs_models/tuned/weight_data';
        const data = localStorage.getItem(key)!;
        await window.lora.saveAdapter(window.adapterOf(2), at);
        localStorage.setItem(key, data); // as after a tab that was closed in the midst of it
        return window.failure(window.lora.loadAdapter(at));
      }, place);
      expect(failure).toMatch(/^LoRAError: "tuned" in local storage is damaged: its parts are of two saves/);
    });
  });

  test('downloads:// with a name that ends in .safetensors downloads one file', async () => {
    const waiting = page.waitForEvent('download');
    await page.evaluate(() => window.lora.saveAdapter(window.adapterOf(3), 'downloads://tuned.safetensors'));
    const file = await waiting;
    expect(file.suggestedFilename()).toBe('tuned.safetensors');
    const adapter = fromSafetensors(readFileSync(await file.path()));
    expect(adapter.tensors['dense/lora_A']!.arraySync()).toEqual([[3], [3], [3]]);
    adapter.dispose();
  });

  describe('a lost WebGL context', () => {
    /** Loses the context, and with `restore` lets the browser give a new one. */
    const lose = (restore: boolean) =>
      page.evaluate(async again => {
        const {gl} = (window.tf.backend() as unknown as {gpgpu: {gl: WebGLRenderingContext}}).gpgpu;
        const extension = gl.getExtension('WEBGL_lose_context')!;
        const event = (name: string) => new Promise(resolve => gl.canvas.addEventListener(name, resolve, {once: true}));
        const lost = event('webglcontextlost');
        extension.loseContext();
        await lost;
        await new Promise(resolve => setTimeout(resolve)); // the event has been dealt with
        if (again) {
          const restored = event('webglcontextrestored');
          extension.restoreContext();
          await restored;
        }
      }, restore);

    beforeEach(() =>
      page.evaluate(async () => {
        await window.tf.setBackend('webgl');
        window.tf.env().set('WEBGL_CPU_FORWARD', false);
        await window.lora.saveAdapter(window.adapterOf(1), 'indexeddb://tuned');
        // Numbers that are on the graphics card alone.
        const adapter = window.adapterOf(2);
        const tensors = Object.fromEntries(
          Object.entries(adapter.tensors).map(([name, tensor]) => [name, window.tf.add(tensor, 1)] as const),
        );
        Object.assign(window, {onCard: {...adapter, tensors}, inMemory: window.adapterOf(9)});
      }),
    );

    test.each([false, true])('fails a save and changes nothing (context restored: %p)', async restore => {
      await lose(restore);
      const result = await page.evaluate(async () => {
        const {onCard, inMemory} = window as unknown as Record<string, import('../../src/index').Adapter>;
        const save = (options: object) =>
          window.failure(window.lora.saveAdapter(onCard!, 'indexeddb://tuned', options));
        const failures = [await save({format: 'tfjs'}), await save({format: 'safetensors'})];
        failures.push(await window.failure(window.lora.toSafetensors(onCard!)));
        const value = await window.valueAt('indexeddb://tuned').catch(String);
        await window.lora.saveAdapter(inMemory!, 'indexeddb://memory');
        const artifacts = await window.tf.io.getLoadHandlers('indexeddb://tuned')[0]!.load!();
        return {failures, value, stored: new Float32Array(artifacts.weightData as ArrayBuffer)[0]};
      });
      expect(result.failures).toHaveLength(3);
      result.failures.forEach(text => expect(text).toMatch(/^LoRAError: The WebGL context was lost/));
      expect(result.stored).toBe(1);
    });

    test('fails a save that is under way', async () => {
      const failure = await page.evaluate(async () => {
        const {onCard} = window as unknown as Record<string, import('../../src/index').Adapter>;
        const {gl} = (window.tf.backend() as unknown as {gpgpu: {gl: WebGLRenderingContext}}).gpgpu;
        const saving = window.failure(window.lora.saveAdapter(onCard!, 'indexeddb://tuned'));
        gl.getExtension('WEBGL_lose_context')!.loseContext();
        return saving;
      });
      expect(failure).toMatch(/^LoRAError: The WebGL context was lost/);
    });
  });
});
