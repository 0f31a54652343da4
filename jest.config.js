/** What the tests of every project share. */
const shared = {
  testEnvironment: '<rootDir>/test/environment.cjs',
  roots: ['<rootDir>/test'],
  setupFilesAfterEnv: ['<rootDir>/test/setup.ts'],
  restoreMocks: true,
  // Jest looks a global up through a trap of the context that tests run in, which takes a quarter of the time of those
  // with tensors. Modules are given these as their own; a test that replaces one of them has no effect.
  sandboxInjectedGlobals: [
    ...['Array', 'ArrayBuffer', 'BigInt', 'Boolean', 'DataView', 'Error', 'Infinity', 'JSON', 'Map', 'Math', 'Number'],
    ...['Object', 'Promise', 'RegExp', 'Set', 'String', 'Symbol', 'WeakMap', 'WeakSet', 'isFinite', 'isNaN'],
    ...['Float32Array', 'Float64Array', 'Int16Array', 'Int32Array', 'Int8Array', 'Uint16Array', 'Uint32Array'],
    ...['Uint8Array', 'Uint8ClampedArray'],
  ],
  moduleNameMapper: {
    // The build that bundlers take, a third faster than the one that Node takes, which is ES5. The suite on all
    // backends runs on Node's.
    '^@tensorflow/tfjs-(core|layers|converter|data|backend-(?:cpu|wasm|webgl))$':
      '<rootDir>/node_modules/@tensorflow/tfjs-$1/dist/tf-$1.es2017.js',
    '^tfjs-lora$': '<rootDir>/src/node.ts',
    '^tfjs-lora/(\\w+)$': '<rootDir>/src/$1.ts',
  },
  // Types are checked by `npm run typecheck`.
  transform: {'^.+\\.ts$': ['@swc/jest', {jsc: {target: 'es2022', parser: {syntax: 'typescript'}}}]},
};

/** A test's file name says what it needs beside Jest. Those of `unit` need nothing: `linear.test.ts`. */
const KINDS = ['slow', 'process', 'built', 'browser', 'backends', 'attack'];

/** @type {import('jest').Config} */
export default {
  projects: [
    {
      ...shared,
      displayName: 'unit',
      testRegex: '/[^./]+\\.test\\.ts$',
    },
    ...KINDS.map(kind => ({...shared, displayName: kind, testRegex: `\\.${kind}\\.test\\.ts$`})),
  ],
  coverageProvider: 'v8',
  collectCoverageFrom: ['src/**/*.ts'],
  testTimeout: 30_000,
  // By itself jest leaves one core of two to other things.
  maxWorkers: '100%',
  testSequencer: '<rootDir>/test/sequencer.cjs',
  reporters: [
    'default',
    // For continuous integration, which counts the tests.
    ...(process.env.LORA_TEST_RESULTS
      ? [['<rootDir>/test/resultsReporter.cjs', {file: process.env.LORA_TEST_RESULTS}]]
      : []),
  ],
};
