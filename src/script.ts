// The door of a page without modules: `<script src="…/tfjs-lora.min.js">` after that of tfjs makes all of it the global
// `tfjsLoRA`.

export * from './index';
export * from './graph';
