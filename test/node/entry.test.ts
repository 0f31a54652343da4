import * as library from '../../src/index';

// Loaded before the entry point of Node, which supplies what only Node has.
test('outside Node, functions that only Node has are refused with what a page calls instead', async () => {
  expect(() => library.fileHandler('out')).toThrow(library.LoRAError);
  expect(() => library.fileHandler('out')).toThrow("fileHandler reads and writes files, which only Node has. On a page, use 'indexeddb://…'"); // prettier-ignore
  await expect(library.startWasm()).rejects.toThrow(
    "startWasm starts threads in Node. On a page, import '@tensorflow/tfjs-backend-wasm' and call await " +
      "tf.setBackend('wasm').",
  );
});

test('in Node and elsewhere the main entry point has the same names, and they mean the same', async () => {
  const inNode = await import('../../src/node');
  expect(Object.keys(library)).toEqual(expect.arrayContaining(['applyLoRA', 'fileHandler', 'startWasm']));
  expect({...inNode}).toEqual({...library});
  expect(library.fileHandler('out')).toEqual(expect.objectContaining({path: 'out'}));
});
