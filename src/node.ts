import {supplyBackend} from './backends/backends';
import {matrixProductGradient, tensorflowCapabilities, tensorflowKernels} from './backends/node/tensorflow';
import {registerGradients} from './backends/shared/registration';
import {fileHandler} from './node/fileHandler';
import {registerFileRouter} from './node/fileRouter';
import {localFiles} from './node/localFiles';
import {savePEFT} from './node/savePeft';
import {startWasm, type WasmOptions, type WasmStart} from './node/startWasm';
import {supplySavePEFT} from './core/peft/saveAdapter';
import {ownHandlers} from './core/storage/places';
import {supplyLocalFiles} from './core/storage/sources';

registerGradients([matrixProductGradient]);
supplyBackend('tensorflow', {kernels: tensorflowKernels, capabilities: () => tensorflowCapabilities});
ownHandlers.set('file:', fileHandler);
registerFileRouter();
supplyLocalFiles(localFiles);
supplySavePEFT(savePEFT);

// The front door in Node: that of the browser, and files. These are few names more, not another list of names to keep
// in step.
export * from './index';
export {fileHandler, startWasm, type WasmOptions, type WasmStart};
