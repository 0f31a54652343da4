import {download} from '../files';
import {sizeText, type Size} from './results';
import {FORGOTTEN} from './saveStep';
import {history, megabytes} from './work';

/** A model may take this share of the memory that the browser reports; where it reports none, so many bytes. */
const [SHARE_OF_MEMORY, MAX_MODEL_BYTES] = [1 / 4, 1e9];

/** What the page calls of a `GGUFEngine` in its worker. */
interface Engine {
  start(source: string | Blob, isStreamed?: boolean): Promise<{bytes: number}>;
  open(file: Blob): Promise<Size>;
  forget(): Promise<void>;
  peft(): Promise<{config: Blob; weights: Blob}>;
  gguf(): Promise<Blob>;
}

/** Loads the model that the page has. Returns what to say. */
export async function startModel(engine: Engine, hasAdapter: boolean): Promise<string> {
  const {bytes} = await engine.start(new URL('model/base.gguf', document.baseURI).href);
  const again = hasAdapter ? ' Your previous adapter is restored.' : '';
  return `Ready: the model uses ${(bytes / 1e6).toFixed(1)} MB of memory.${again}`;
}

/** What an adapter changes of the state of a page: its file, and the training that it comes from. */
interface Adapted<C> {
  adapter: Blob | null;
  course: C;
}

interface AdaptedStore<C> {
  change(what: string, changes: Adapted<C>): void;
  set(changes: Adapted<C>): void;
}

/** Opens adapters and models, and removes adapters, in the worker and on the page. Each method returns what to say. */
export class ModelActions<C> {
  private hasOtherModel = false;

  /**
   * @param switched whether the visitor wants answers with the adapter.
   * @param none no training.
   */
  constructor(
    private readonly engine: Engine,
    private readonly store: AdaptedStore<C>,
    private readonly switched: HTMLInputElement,
    private readonly none: C,
  ) {}

  /** Whether the visitor chose another model. Its adapter is of no use after a reload, which loads the first one. */
  get isOtherModel(): boolean {
    return this.hasOtherModel;
  }

  async openAdapter(file: File): Promise<string> {
    const size = await this.engine.open(file);
    this.store.change('file opened', {adapter: file, course: this.none});
    this.switched.checked = true;
    return `Opened ${file.name}: ${sizeText(size)}.`;
  }

  /** Opens another model, which has no adapter yet. */
  async openModel(file: File): Promise<string> {
    const said = await openModel(this.engine, file);
    this.hasOtherModel = true;
    history.clear(); // what was learned was of the former model
    this.store.set({adapter: null, course: this.none});
    this.switched.checked = false;
    return said;
  }

  async forget(): Promise<string> {
    await this.engine.forget();
    this.store.change('adapter forgotten', {adapter: null, course: this.none});
    this.switched.checked = false;
    return FORGOTTEN;
  }
}

/** Loads another model. One that is large for this device can stay on the disk. Returns what to say. */
async function openModel(engine: Engine, file: File): Promise<string> {
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
