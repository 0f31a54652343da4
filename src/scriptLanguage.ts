// Language models and other transformers for a page without modules: `<script src="…/tfjs-lora-language.min.js">` after
// that of `script` adds them to its global `tfjsLoRA`.

export * from './quantized';
export * from './transformers';
export * from './language';
export * from './images';
