import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import type {Browser, Page} from 'playwright-core';
import {loadAdapter} from 'tfjs-lora';
import {describeInBrowser, launchBrowser} from '../../examples/site';
import {useBackend} from '../../helpers';
import {servePage} from '../../servedPage';
import type {} from './page/page';

jest.setTimeout(120_000);

const PLACES = ['indexeddb://tuned', 'localstorage://tuned'];

describeInBrowser('in a browser', () => {
  let browser: Browser;
  let served: Awaited<ReturnType<typeof servePage>>;
  let page: Page;

  beforeAll(async () => {
    await useBackend('cpu');
    served = await servePage(join(__dirname, 'page'));
    browser = await launchBrowser();
    page = await openPage();
  });

  afterAll(async () => {
    await browser.close();
    served.close();
  });

  afterEach(() =>
    page.evaluate(async () => {
      localStorage.clear();
      await new Promise(resolve => (indexedDB.deleteDatabase('tensorflowjs').onsuccess = resolve));
    }),
  );

  async function openPage(): Promise<Page> {
    const opened = await (await browser.newContext()).newPage();
    await opened.goto(served.url);
    await opened.waitForFunction(() => 'failure' in window);
    await opened.evaluate(() => window.tf.setBackend('cpu'));
    return opened;
  }

  /** Gives a test that breaks a part of its page a page that no other test sees. */
  async function inOwnPage<T>(use: (own: Page) => Promise<T>): Promise<T> {
    const own = await openPage();
    try {
      return await use(own);
    } finally {
      await own.context().close();
    }
  }

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

    test('the name __proto__, which tfjs would not list, is refused', async () => {
      const failure = await page.evaluate(
        at => window.failure(window.lora.saveAdapter(window.adapterOf(1), at)),
        place.replace('tuned', '__proto__'),
      );
      expect(failure).toBe(
        'LoRAError: "__proto__" cannot be saved: tf.io.listModels() would not list it. Choose another name.',
      );
      expect(await page.evaluate(() => window.tf.io.listModels())).toEqual({});
    });

    test('a page without such a storage is told', async () => {
      const failures = await inOwnPage(own =>
        own.evaluate(async at => {
          const absent = at.startsWith('indexeddb') ? 'indexedDB' : 'localStorage';
          Object.defineProperty(window, absent, {value: null}); // as in some web views
          const save = await window.failure(window.lora.saveAdapter(window.adapterOf(1), at));
          return [save, await window.failure(window.lora.loadAdapter(at))];
        }, place),
      );
      failures.forEach(failure =>
        expect(failure).toMatch(/^LoRAError: .*(not appear to support IndexedDB|has no local storage)\./),
      );
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
      ['a disk that is full, whose error has no text,', 'full'],
    ])('%s leaves the earlier adapter, and says so', async (_, how) => {
      const result = await page.evaluate(
        async ([at, what]) => {
          await window.lora.saveAdapter(window.adapterOf(1), at);
          // oxlint-disable-next-line typescript/unbound-method -- it is called with `this`
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
            if (what === 'full') {
              Object.defineProperty(this.transaction, 'error', {
                value: new DOMException('', 'QuotaExceededError'),
                configurable: true,
              });
            }
            if (what === 'abort' || what === 'full') {
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
        /^LoRAError: Cannot save "tuned" to IndexedDB: \S.* What was there before is still there\.$/,
      );
      expect(result.failure.includes('IndexedDB: QuotaExceededError. What')).toBe(how === 'full');
      expect(result).toMatchObject({value: 1, listed: [place]});
    });

    test('a database that is being deleted, while something keeps it open, is told', async () => {
      const result = await page.evaluate(async at => {
        await window.lora.saveAdapter(window.adapterOf(1), at);
        const opened = (request: IDBOpenDBRequest) =>
          new Promise<IDBDatabase>(resolve => (request.onsuccess = () => resolve(request.result)));
        const holder = await opened(indexedDB.open('tensorflowjs', 1)); // which does not heed `onversionchange`
        const deleted = opened(indexedDB.deleteDatabase('tensorflowjs'));
        const wait = window.setTimeout.bind(window);
        window.setTimeout = ((f: () => void, time: number) => wait(f, time === 10_000 ? 300 : time)) as never;
        const failures = [
          await window.failure(window.lora.saveAdapter(window.adapterOf(2), at)),
          await window.failure(window.lora.loadAdapter(at)),
          await window.failure(window.lora.resume(window.trainable(), at, {keep: 1})),
        ];
        window.setTimeout = wait as never;
        holder.close();
        await deleted;
        await window.lora.saveAdapter(window.adapterOf(3), at);
        return {failures, value: await window.valueAt(at)};
      }, place);
      for (const failure of result.failures) {
        expect(failure).toMatch(
          /^LoRAError: [^]*Cannot (save|load) "tuned" .*has not opened within 10 s\. It is probably being deleted, and/,
        );
      }
      expect(result.value).toBe(3);
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
      expect(failure).toMatch(/^LoRAError: "tuned" in local storage is damaged: its parts come from two saves/);
    });
  });

  test('downloads:// with a name that ends in .safetensors downloads one file', async () => {
    const waiting = page.waitForEvent('download');
    await page.evaluate(() => window.lora.saveAdapter(window.adapterOf(3), 'downloads://tuned.safetensors'));
    const file = await waiting;
    expect(file.suggestedFilename()).toBe('tuned.safetensors');
    const adapter = await loadAdapter(readFileSync(await file.path()));
    expect(adapter.tensors['dense/lora_A']!.arraySync()).toEqual([[3], [3], [3]]);
    adapter.dispose();
  });
});
