// As `script`, with language models and other transformers: `<script src="…/tfjs-lora-language.min.js">` in place of
// that file. The global `tfjsLoRA` has everything.

export * from './script';
export * from './quantized';
export * from './transformers';
export * from './language';
export * from './images';
