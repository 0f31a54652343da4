/**
 * Compares what can train to recognize spam by its subject line: a new head alone, LoRA and the head, and all weights.
 *
 *     npm run study -- sentences
 */
import {adam, applyLoRA, compileModel, disposeModel, fitOnFeatures, startWasm, trainableVariables} from 'tfjs-lora';
import {encodeExamples} from 'tfjs-lora/transformers';
import {mails, minilm} from '../../scripts/pretrained';
import {mean, overSeeds, table} from '../shared/report';
import {accuracyOf, classifier, ENCODED, LORA} from './classifier';
import {makeTasks} from './mails';

/** What trains, and its learning rate, the best of several. */
const WAYS = {'head alone': 1e-2, LoRA: 2e-3, 'full fine-tuning': 2e-4};

await startWasm();
const encoder = await minilm();
const {train, test} = makeTasks(mails(), {train: 256, test: 320}).spam;
const rows: string[][] = [];
for (const [way, learningRate] of Object.entries(WAYS)) {
  const accuracies: number[] = [];
  const seconds: number[] = [];
  let parameters = 0;
  for (const seed of [1, 2, 3]) {
    const base = await classifier(encoder, 2, seed);
    const model =
      way === 'full fine-tuning'
        ? base
        : applyLoRA(base, way === 'LoRA' ? LORA : {targets: 'head', trainInFull: LORA.trainInFull});
    compileModel(model, {optimizer: adam({learningRate}), metrics: ['accuracy']});
    const data = await encodeExamples(model, encoder.tokenizer, train, {...ENCODED, seed});
    const begin = process.cpuUsage();
    // Without LoRA, the encoder computes each text once, and epochs cost next to nothing.
    await (way === 'head alone'
      ? fitOnFeatures(model, data, {epochs: 40, verbose: 0})
      : model.fitDataset(data, {epochs: 2, verbose: 0}));
    const {user, system} = process.cpuUsage(begin);
    seconds.push((user + system) / 1e6);
    accuracies.push(await accuracyOf(model, encoder, test));
    parameters = trainableVariables(model).reduce((sum, {size}) => sum + size, 0);
    new Set([model, base]).forEach(disposeModel);
    console.log(`${way}, seed ${seed}: ${(100 * accuracies.at(-1)!).toFixed(1)} % in ${seconds.at(-1)!.toFixed(1)} s`);
  }
  const file = ((4 * parameters) / 1000).toLocaleString('en', {maximumFractionDigits: 0});
  rows.push([way, ...overSeeds(accuracies), parameters.toLocaleString('en'), mean(seconds).toFixed(1), file]);
}
console.log(`\n${table([['', 'accuracy', 'each seed', 'trainable', 'CPU, s', 'file, kB'], ...rows])}`);
