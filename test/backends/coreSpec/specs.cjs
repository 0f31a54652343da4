// Runs the specs of tfjs-core on the wasm backend, with this library if `with` is the argument. Prints a line for each
// spec. It runs bundled, so that specs, backend and library have one copy of tfjs.

const jasmineRequire = require('jasmine-core/lib/jasmine-core/jasmine.js');
const jasmine = require('jasmine-core/lib/jasmine-core/node_boot.js')(jasmineRequire);
const {setTestEnvs} = require('@tensorflow/tfjs-core/dist/jasmine_util');
require('@tensorflow/tfjs');
const {setWasmPaths} = require('@tensorflow/tfjs-backend-wasm');

const [, , wasmPath, which] = process.argv;
setWasmPaths(wasmPath);
setTestEnvs([{name: 'wasm', backendName: 'wasm', isDataSync: true}]);
if (which === 'with') {
  require('tfjs-lora');
}
require('@tensorflow/tfjs-core/dist/tests');

// Kernels that abort reject promises that no spec awaits.
process.on('unhandledRejection', () => {});
const environment = jasmine.getEnv({suppressLoadErrors: true});
environment.configure({random: false});
environment.addReporter({
  specDone: ({fullName, status, failedExpectations}) => {
    const reasons = failedExpectations.map(({message}) => message.slice(0, 500));
    process.stdout.write(`SPEC ${JSON.stringify({name: fullName, status, reasons})}\n`);
  },
  jasmineDone: () => process.stdout.write('DONE\n', () => process.exit(0)),
});
environment.execute();
