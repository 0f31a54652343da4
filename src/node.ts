import './backends/backends';
import {matrixProductGradient, tensorflowCapabilities, tensorflowKernels} from './backends/node/tensorflow';
import {registerGradients} from './backends/shared/registration';
import {supplyBackend} from './backends/shared/supplyBackend';
import {supplyWasm} from './backends/wasm/wasmPart';
import {registerFileRouter} from './node/fileRouter';
import {folderStore} from './node/folderStore';
import {localFileHandler} from './node/localFileHandler';
import {localFiles} from './node/localFiles';
import {savePEFT} from './node/savePeft';
import {startThreadedWasm} from './node/wasmThreads';
import {supplyWasmStart} from './backends/startWasm';
import {supplySavePEFT} from './core/peft/saveAdapter';
import {supplyHubStore} from './core/storage/hub/settings';
import {ownHandlers} from './core/storage/places';
import {supplyLocalFiles} from './core/storage/localFiles';

registerGradients([matrixProductGradient]);
supplyWasm();
supplyBackend('tensorflow', {kernels: tensorflowKernels, capabilities: () => tensorflowCapabilities});
ownHandlers.set('file:', localFileHandler);
registerFileRouter();
supplyLocalFiles(localFiles);
supplyHubStore(folderStore);
supplySavePEFT(savePEFT);
supplyWasmStart(startThreadedWasm);

// The main entry point in Node: the same names, of which some need what is supplied here.
export * from './index';
