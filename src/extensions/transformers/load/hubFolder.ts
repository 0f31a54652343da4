import {notFoundError, damagedError, LoRAError, messageOf, show} from '../../../platform/errors';
import {MAX_FETCHED_BYTES} from '../../../core/storage/limits';
import {isHub} from '../../../core/storage/hubName';
import {localFilesFor} from '../../../core/storage/localFiles';
import {
  bytesOf,
  type ByteSource,
  fetched,
  listFolder,
  type SourceOptions,
  type StreamSource,
} from '../../../core/storage/sources';
import {jsonText} from '../../../platform/formats/explained';
import {HubConfig} from '../net/hubConfig';

/** The address of a file of a model, or its bytes. */
export type GivenSource = StreamSource | PromiseLike<StreamSource>;

/** The content of a JSON file. */
export type JSONObject = Readonly<Record<string, unknown>>;

/** The files of a model besides its config and weights, given or in its folder. */
const FILES = {
  preprocessor: 'preprocessor_config.json',
  generation: 'generation_config.json',
  tokenizerJson: 'tokenizer.json',
  tokenizerConfig: 'tokenizer_config.json',
  vocabulary: 'vocab.json',
} as const;

/** The sources of such files, by the names of the options. */
export type OtherSources = {readonly [name in keyof typeof FILES]?: GivenSource | JSONObject};

/** Configs list class names, possibly thousands. */
const MAX_CONFIG_BYTES = 2 ** 23;

/** The files of a model: given ones, and those in its folder, if it has one. */
export class HubFiles {
  private readonly folder: string | undefined;

  constructor(
    private readonly address: URL | string | undefined,
    private readonly otherSources: OtherSources,
    private readonly limits: SourceOptions,
  ) {
    this.folder = address && folderOf(address);
  }

  /** A small JSON file; `undefined` if it is neither given nor in the folder. */
  async config(name: Exclude<keyof typeof FILES, 'tokenizerJson'>): Promise<Record<string, unknown> | undefined> {
    const source = this.otherSources[name] ?? (await this.inFolder(FILES[name]));
    return source === undefined
      ? undefined
      : HubConfig.parse(await configOf(source, FILES[name], this.limits), name).asObject();
  }

  /**
   * The content of `tokenizer.json`.
   *
   * @throws LoRAError if it is neither given nor in the folder, or is not JSON.
   */
  async tokenizerJson(): Promise<Record<string, unknown>> {
    const source = this.otherSources.tokenizerJson ?? (await this.inFolder(FILES.tokenizerJson));
    if (source === undefined) {
      const place = this.folder === undefined ? 'was given' : `is in ${this.folder}`;
      throw notFoundError(`The model has no tokenizer: no tokenizer.json ${place}. Pass {tokenizerJson}.`);
    }
    const json = await textOf(source, FILES.tokenizerJson, {maxBytes: MAX_FETCHED_BYTES, ...this.limits});
    try {
      return (typeof json === 'string' ? JSON.parse(json) : json) as Record<string, unknown>;
    } catch (error) {
      throw damagedError(`tokenizer.json is not valid JSON: ${messageOf(error)}`, {cause: error});
    }
  }

  /** The content of `chat_template.jinja`, used if `tokenizer_config.json` is not given. */
  async template(): Promise<string | undefined> {
    return this.otherSources.tokenizerConfig === undefined ? this.textIn('chat_template.jinja') : undefined;
  }

  /** The text of a small file in the folder, by its path in it; `undefined` if there is none. */
  async textIn(path: string): Promise<string | undefined> {
    const bytes = await this.bytesIn(path, MAX_CONFIG_BYTES);
    return bytes && new TextDecoder().decode(bytes);
  }

  /** The bytes of a file in the folder, by its path in it; `undefined` if there is none. */
  async bytesIn(path: string, maxBytes = MAX_FETCHED_BYTES): Promise<Uint8Array | undefined> {
    const source = await this.inFolder(path);
    return source && bytesOf(source, {maxBytes, ...this.limits});
  }

  private async inFolder(path: string): Promise<Response | Blob | undefined> {
    const {address, folder} = this;
    if (address === undefined || folder === undefined) {
      return undefined;
    }
    const [name = '', ...around] = path.split('/').reverse();
    const place = [...(folder === '' ? [] : [folder]), ...around.reverse()].join('/');
    const isLocal = localFilesFor(address) !== undefined;
    const listed = (await listFolder(place === '' ? '.' : place, this.limits)) ?? (isLocal ? [] : undefined);
    if (listed?.every(path => path.split(/[/\\]/).at(-1) !== name)) {
      return undefined;
    }
    const file = await fetched(pathIn(place, name), this.limits).catch((error: unknown) => {
      if (isHub(address) && error instanceof LoRAError && error.code === 'ERR_NOT_FOUND') {
        return undefined; // of a hub that does not list its files
      }
      throw error;
    });
    // Some servers answer with a page if there is no file.
    return file && 'ok' in file && !(file.ok && file.headers.get('content-type')?.includes('html') !== true)
      ? undefined
      : file;
  }
}

/** The files of transformers.js whose weights are read, the preferred one first. */
const ONNX_FILES = ['model_q4.onnx', 'model_q4f16.onnx', 'model.onnx', 'model_fp16.onnx'];

export async function filesAt(
  address: URL | string,
  options: SourceOptions,
): Promise<{config: string; weights: string | string[]}> {
  const folder = folderOf(address);
  // The hub's name for a single file; several are numbered: `model-00001-of-00002.safetensors`.
  const listed = await listFolder(folder === '' ? '.' : folder, options);
  const weights = listed?.filter(path => /(?:^|[/\\])model(?:-\d+-of-\d+)?\.safetensors$/.test(path)).sort();
  if (weights?.length === 0) {
    const paths = [...(listed ?? []), ...((await listFolder(pathIn(folder, 'onnx'), options)) ?? [])];
    const onnx = ONNX_FILES.flatMap(name => paths.find(path => path.split(/[/\\]/).at(-1) === name) ?? []);
    if (onnx[0] !== undefined) {
      return {config: pathIn(folder, 'config.json'), weights: onnx[0]};
    }
    const {PYTORCH_TO_SAFETENSORS} = await import('../../../platform/formats/otherFormats');
    throw notFoundError(`${folder} has no model.safetensors. ${PYTORCH_TO_SAFETENSORS}`);
  }
  return {config: pathIn(folder, 'config.json'), weights: weights ?? pathIn(folder, 'model.safetensors')};
}

/** The folder of a model, also from the address of its `config.json`. */
function folderOf(address: URL | string): string {
  return String(address).replace(/[/\\]?(?:config\.json)?$/, '');
}

function pathIn(folder: string, name: string): string {
  return folder === '' ? name : `${folder}/${name}`;
}

/** The text of a config of the given name, or the object that was given. */
export function configOf(
  source: GivenSource | JSONObject,
  name: string,
  limits: SourceOptions,
): Promise<string | object> {
  return textOf(source, name, {maxBytes: MAX_CONFIG_BYTES, ...limits});
}

async function textOf(
  promised: GivenSource | JSONObject,
  name: string,
  limits: SourceOptions,
): Promise<string | object> {
  const source = await Promise.resolve<StreamSource | JSONObject | PromiseLike<StreamSource>>(promised);
  // A web page that was read as text is not an address either.
  if (typeof source === 'string' && /^\s*[{<]/.test(source)) {
    return jsonText(source, name);
  }
  if (typeof source === 'object' && Object.getPrototypeOf(source) === Object.prototype) {
    return source;
  }
  const isAddress = typeof source === 'string' || source instanceof URL;
  const file = isAddress ? await fetched(source, limits) : (source as ByteSource);
  return jsonText(await bytesOf(file, limits), name);
}

/**
 * The bytes of a file next to another one.
 *
 * @throws LoRAError `ERR_NOT_FOUND` if the other one has no address, or the name is a path.
 */
export async function bytesBeside(source: unknown, name: string, limits: SourceOptions): Promise<Uint8Array> {
  if (!(typeof source === 'string' || source instanceof URL) || /^\.*$|[/\\:]/.test(name)) {
    throw notFoundError(
      `The ONNX file has tensors in another file, ${show(name)}. Pass the address of the ONNX file, with that file next ` +
        'to it, or save it as one file with onnx.save of Python.',
    );
  }
  const address = String(source).replace(/[^/\\?]*(?:\?.*)?$/, name);
  return bytesOf(await fetched(address, limits), limits);
}
