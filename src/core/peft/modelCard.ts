import * as tf from '@tensorflow/tfjs';
import {checkOptions, kindOf, LoRAError, show} from '../../platform/errors';
import {summarizeLoRA} from '../model/summary';

/** Options of `modelCard`. */
export interface ModelCardOptions {
  /** The title. Default: `'LoRA adapter'`. */
  name?: string;
  /** What the adapter is for, in Markdown. */
  description?: string;
  /** The name of the base model, such as `'HuggingFaceTB/SmolLM2-135M'`. */
  baseModel?: string;
  /** A license as the hub names them, such as `'mit'`. */
  license?: string;
  /** How many examples there were, by what they were for: `{training: 900, validation: 100}`. */
  data?: Readonly<Record<string, number>>;
  /** Results by name. Default: those of the last epoch of `history`. */
  metrics?: Readonly<Record<string, number>>;
  /** What `fit` returned. */
  history?: tf.History;
  /** Further settings of the training by name, such as the batch size. */
  settings?: Readonly<Record<string, string | number | boolean>>;
}

const TEXTS = ['name', 'description', 'baseModel', 'license'] as const;
const TABLES = ['data', 'metrics', 'settings'] as const;

/**
 * Writes a model card, the `README.md` that the Hugging Face hub shows for an adapter: the base model, the method, rank
 * and layers of the adapter, the optimizer that the model is compiled with, counts of the data, and results.
 *
 *     await saveAdapter(model, 'out/adapter', {format: 'peft', readme: modelCard(model)});
 *
 * @param model the adapted model that was trained.
 * @param options facts that the model does not contain.
 * @returns the text, Markdown with a header in YAML.
 * @throws LoRAError `ERR_NOT_ADAPTED` if the model is not adapted, `ERR_OPTION` if an option is not valid.
 * @example
 *     const card = modelCard(model, {baseModel: 'HuggingFaceTB/SmolLM2-135M', data: {training: 900}});
 * @experimental
 */
export function modelCard(model: tf.LayersModel, options: ModelCardOptions = {}): string {
  checkOptions(options, {
    ...{name: true, description: true, baseModel: true, license: true},
    ...{data: true, metrics: true, history: true, settings: true},
  });
  checkTypes(options);
  const {layers, trainable, trainableParameters, totalParameters} = summarizeLoRA(model);
  const {name = 'LoRA adapter', description, baseModel, license, data = {}, history, settings = {}} = options;
  const last = Object.entries(history?.history ?? {}).map(([key, values]) => [key, Number(values.at(-1))] as const);
  const metrics = options.metrics ?? Object.fromEntries(last);
  const header = {
    ...(baseModel !== undefined && {base_model: baseModel}),
    library_name: 'peft',
    ...(license !== undefined && {license}),
    tags: [...new Set([...layers.map(({method = 'lora'}) => method), 'tfjs-lora'])],
  };
  const distinct = (values: readonly (string | number)[]) => [...new Set(values)].join(', ');
  const adapter = {
    method: distinct(layers.map(({method = 'lora'}) => method)),
    rank: distinct(layers.map(({rank}) => rank)),
    alpha: distinct(layers.map(({alpha}) => alpha)),
    'adapted layers': layers.length,
    ...(trainable.length > 0 && {'layers that train in full': trainable.join(', ')}),
    'trained parameters': `${trainableParameters.toLocaleString('en')} of ${totalParameters.toLocaleString('en')}`,
  };
  const epochs = history?.epoch.length;
  return [
    // JSON is YAML too.
    `---\n${Object.entries(header)
      .map(([key, value]) => `${key}: ${JSON.stringify(value)}\n`)
      .join('')}---`,
    `# ${oneLine(name)}`,
    ...(description === undefined ? [] : [description]),
    table('Adapter', adapter),
    table('Training', {...optimizerOf(model), ...(epochs !== undefined && {epochs}), ...settings}),
    table('Examples', data),
    table('Results', metrics),
    `Made with tfjs-lora.`,
  ]
    .filter(section => section !== '')
    .join('\n\n')
    .concat('\n');
}

function checkTypes(options: ModelCardOptions): void {
  const wrongText = TEXTS.find(key => options[key] !== undefined && typeof options[key] !== 'string');
  if (wrongText !== undefined) {
    throw new LoRAError(`${wrongText} must be a string, got ${kindOf(options[wrongText])}.`);
  }
  for (const key of TABLES) {
    const value: unknown = options[key];
    if (value !== undefined && (typeof value !== 'object' || value === null || Array.isArray(value))) {
      throw new LoRAError(`${key} must be an object of values by name, got ${kindOf(value)}.`);
    }
  }
  const {history} = options as {history?: Partial<tf.History> | null};
  if (history !== undefined && (!Array.isArray(history?.epoch) || typeof history.history !== 'object')) {
    throw new LoRAError(`history must be what fit returned, got ${kindOf(history)}.`);
  }
}

function optimizerOf(model: tf.LayersModel): Record<string, unknown> {
  const optimizer = model.optimizer as tf.Optimizer | undefined;
  const settings = Object.entries(optimizer?.getConfig() ?? {}).filter(([, value]) => typeof value !== 'object');
  return optimizer === undefined
    ? {}
    : {optimizer: optimizer.getClassName().replace(/^.*>/, ''), ...Object.fromEntries(settings)};
}

function table(title: string, rows: Readonly<Record<string, unknown>>): string {
  const lines = Object.entries(rows).map(([name, value]) => `| ${cell(name)} | ${cell(value)} |`);
  return lines.length === 0 ? '' : [`## ${title}`, '', '| | |', '| --- | --- |', ...lines].join('\n');
}

function cell(value: unknown): string {
  const text = typeof value === 'number' && !Number.isInteger(value) ? String(Number(value.toPrecision(6))) : value;
  return oneLine(typeof text === 'string' ? text : show(text)).replaceAll('|', '\\|');
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ').trim();
}
