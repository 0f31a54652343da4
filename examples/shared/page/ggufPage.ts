import {download} from '../files';
import {megabytes} from './work';

/** A model may take this share of the memory that the browser reports; where it reports none, so many bytes. */
const [SHARE_OF_MEMORY, MAX_MODEL_BYTES] = [1 / 4, 1e9];

/** What the page calls of a `GGUFEngine` in its worker. */
interface Engine {
  start(source: string | Blob, isStreamed?: boolean): Promise<{bytes: number}>;
  peft(): Promise<{config: Blob; weights: Blob}>;
  gguf(): Promise<Blob>;
}

/** Loads the model that the page has. Returns what to say. */
export async function startModel(engine: Engine, hasAdapter: boolean): Promise<string> {
  const {bytes} = await engine.start(new URL('model/base.gguf', document.baseURI).href);
  const again = hasAdapter ? ' Your previous adapter is restored.' : '';
  return `Ready: the model uses ${(bytes / 1e6).toFixed(1)} MB of memory.${again}`;
}

/** Loads another model. One that is large for this device can stay on the disk. Returns what to say. */
export async function openModel(engine: Engine, file: File): Promise<string> {
  const {deviceMemory} = navigator as {deviceMemory?: number};
  const most = deviceMemory === undefined ? MAX_MODEL_BYTES : SHARE_OF_MEMORY * deviceMemory * 2 ** 30;
  const question =
    `${file.name} has ${megabytes(file.size)}, much for the memory of this device. Leave its weights in the file? ` +
    'They are read when they are needed, which takes little memory and somewhat more time.';
  const isStreamed = file.size > most && confirm(question);
  const {bytes} = await engine.start(file, isStreamed);
  const place = isStreamed ? ' Its weights stay in the file.' : '';
  return `Opened ${file.name}: the model uses ${megabytes(bytes)} of memory.${place}`;
}

/** The formats of other programs in which the adapter can be saved. */
export function otherFormats(engine: Engine): Record<string, readonly [label: string, save: () => Promise<string>]> {
  const savePeft = async () => {
    const {config, weights} = await engine.peft();
    download({name: 'adapter_config.json', content: config}, {name: 'adapter_model.safetensors', content: weights});
    return 'Downloaded two files. Put them in a folder for PeftModel.from_pretrained.';
  };
  const saveGGUF = async () => {
    download({name: 'adapter.gguf', content: await engine.gguf()});
    return 'Downloaded. Use it with llama-cli -m base.gguf --lora adapter.gguf';
  };
  return {peft: ['For PEFT', savePeft], gguf: ['For llama.cpp', saveGGUF]};
}
