import './shared/kernelWatch';
import {conv3dTransposeGradient, depthToSpaceGradient} from './shared/addedGradients';
import {type Capabilities, supplyCapabilities} from './shared/capabilities';
import {cpuKernels} from './cpuKernels';
import {onBackend} from './shared/lifecycle';
import {awaitedKernel, loadWithBackend} from './shared/backendParts';
import {supplyBackend} from './shared/supplyBackend';
import {registerGradients} from './shared/registration';
import {type Programs, runsOn, tryOut} from './shared/tryOut';

/**
 * Supplies programs of our own on a graphics card. They are loaded when it is set, so that a page without it need not
 * load them, and are tried out; until then, and where that fails, it is as stock.
 */
function supplyPrograms(name: string, stock: Capabilities, load: () => Promise<Programs>): void {
  let programs: Programs | undefined;
  let set: object | undefined;
  supplyCapabilities(name, () => (set !== undefined && runsOn(set) ? programs?.capabilities : stock));
  onBackend((current, backend) => {
    if (current === name) {
      set = backend;
      tryOut(backend, async () => {
        programs = await load();
        return programs.isRight(backend as never, onBackend);
      });
    }
  });
}

/** What tfjs lacks on wasm, and what is wrong there: in training, and for `tf.conv3dTranspose`. */
const AWAITED = [
  'Conv2DBackpropFilter',
  'DepthwiseConv2dNativeBackpropFilter',
  'DepthwiseConv2dNativeBackpropInput',
  'UnsortedSegmentSum',
  'Conv3DBackpropInputV2',
  'Conv3DBackpropFilterV2',
  'MaxPoolGrad',
  'MaxPool3DGrad',
  'ResizeNearestNeighborGrad',
];

registerGradients([conv3dTransposeGradient, depthToSpaceGradient]);
// The backends of a page. The entry point `node` adds the one that only Node has.
supplyBackend('cpu', {kernels: cpuKernels, capabilities: () => ({isOnHost: true, stepsOnHost: true})});
// Until its part is there, wasm predicts with tfjs's own kernels. The memory is what 32 bits can address.
supplyBackend('wasm', {
  kernels: AWAITED.map(name => awaitedKernel(name, 'wasm')),
  capabilities: () => ({isOnHost: true, mostBytes: 2 ** 32, stepsOnHost: true}),
});
loadWithBackend('wasm', async () => (await import('./wasm/wasmPart')).supplyWasm(), true);
for (const card of ['webgl', 'webgpu']) {
  loadWithBackend(card, async () => {
    const {guardGraphicsCard} = await import('../platform/tfjs/guardGraphicsCard');
    onBackend((_name, backend) => guardGraphicsCard(backend));
  });
}
supplyPrograms('webgl', {}, async () => (await import('./webgl/webglPart')).webglPrograms);
supplyPrograms('webgpu', {readsByPromise: true}, async () => (await import('./webgpu/webgpuPart')).webgpuPrograms);
