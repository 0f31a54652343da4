// The door of a page without modules: `<script src="…/tfjs-lora.min.js">` after that of tfjs makes all of it the global
// `tfjsLoRA`.

import {supplyWasm} from './backends/wasm/wasmPart';

// A page with script tags loads one file.
supplyWasm();

export * from './index';
export * from './graph';
export * from './layers';
