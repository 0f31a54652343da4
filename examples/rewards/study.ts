/**
 * Measures what SmolLM2-135M-Instruct in 4 bits learns from rewards: three tasks, five seeds each, and random rewards as
 * a control. Each run is added to study.json when it ends, and one that was stopped continues from its checkpoint.
 *
 *     npm run study -- rewards                          all runs that study.json does not have
 *     npm run study -- rewards --task sums --seed 1     only those of a task, or of a seed
 *     npm run study -- rewards --table                  what study.json has
 */
import {mkdirSync, openAsBlob, rmSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import * as tf from '@tensorflow/tfjs';
import {adamW, applyLoRA, disposeModel, startWasm} from 'tfjs-lora';
import {loadGGUF, type SampledAnswer, type Tokenizer, trainOnRewards} from 'tfjs-lora/language';
import {smollm2} from '../../scripts/pretrained';
import {mean, table} from '../shared/report';
import {readRuns, writeRuns} from '../shared/runs';
import {answersTo} from './heldOut';
import {randomRewards, type Task, TASKS} from './tasks';

/** What a run gave. Rewards are means over ANSWERS sampled answers to each held-out question. */
interface Run {
  task: string;
  seed: number;
  /** Whether its rewards were random. */
  random: boolean;
  before: number;
  after: number;
  /** The standard deviation of the held-out rewards after the run. */
  spread: number;
  steps: number;
  minutes: number;
  /** An answer to the first held-out question before and after. */
  answers: [before: string, after: string];
}

const OUTPUT = fileURLToPath(new URL('output/', import.meta.url));
const SEEDS = [1, 2, 3, 4, 5];
/** Answers to each held-out question: with one, the mean of eight questions is off by 0.1 to 0.15. */
const ANSWERS = 4;

const {values: only} = parseArgs({
  options: {task: {type: 'string'}, seed: {type: 'string'}, steps: {type: 'string'}, table: {type: 'boolean'}},
});
const runs = readRuns<Run>(import.meta.url);
// A seed of every task comes before the next seed.
const planned = SEEDS.flatMap(seed =>
  [false, true].flatMap(random => Object.keys(TASKS).map(task => ({task, seed, random}))),
).filter(
  ({task, seed, random}) =>
    (only.task ?? task) === task &&
    Number(only.seed ?? seed) === seed &&
    !runs.some(run => run.task === task && run.seed === seed && run.random === random),
);

await startWasm();
tf.enableProdMode();
mkdirSync(OUTPUT, {recursive: true});
for (const plan of only.table === true ? [] : planned) {
  console.log(`\n${plan.task}, seed ${plan.seed}${plan.random ? ', random rewards' : ''}`);
  runs.push(await run(plan));
  writeRuns(import.meta.url, runs);
}
console.log(`\n${summary()}`);

async function run({task: name, seed, random}: Pick<Run, 'task' | 'seed' | 'random'>): Promise<Run> {
  const begin = Date.now();
  const task = TASKS[name] as Task;
  const steps = Number(only.steps ?? task.steps);
  const {model: base, tokenizer} = await loadGGUF(await openAsBlob(smollm2()));
  const model = applyLoRA(base, {rank: 16, alpha: 32, targets: [/[qkvo]_proj$/], seed});
  const before = await heldOut(model, tokenizer, task, seed);
  console.log(`  before: ${mean(before.rewards).toFixed(3)} ${JSON.stringify(before.answer)}`);
  const checkpoint = join(OUTPUT, `${name}-${seed}${random ? '-random' : ''}`);
  await trainOnRewards(model, tokenizer, {
    prompts: task.train,
    rewards: [random ? randomRewards(seed) : answers => answers.map(task.reward)],
    optimizer: adamW({learningRate: task.learningRate}),
    ...{steps, maxTokens: task.maxTokens, group: 8, seed},
    checkpoint: `file://${checkpoint}`,
    onStep: ({step, reward, spread, entropy, length, examples}) => {
      const numbers = [reward, spread, entropy, length].map(value => value.toFixed(2)).join('  ');
      console.log(`  ${step + 1}: ${numbers}  ${JSON.stringify(examples[0]?.text.slice(0, 70))}`);
    },
  });
  const after = await heldOut(model, tokenizer, task, seed);
  console.log(`  after: ${mean(after.rewards).toFixed(3)} ${JSON.stringify(after.answer)}`);
  [model, base].forEach(disposeModel);
  [0, 1].forEach(slot => rmSync(`${checkpoint}-${slot}`, {recursive: true, force: true}));
  const middle = mean(after.rewards);
  return {
    ...{task: name, seed, random, steps},
    before: rounded(mean(before.rewards)),
    after: rounded(middle),
    spread: rounded(Math.sqrt(mean(after.rewards.map(value => (value - middle) ** 2)))),
    minutes: rounded((Date.now() - begin) / 60_000),
    answers: [before.answer, after.answer],
  };
}

/** The task's own rewards for ANSWERS answers to each held-out question. */
async function heldOut(
  model: tf.LayersModel,
  tokenizer: Tokenizer,
  {test, reward, maxTokens}: Task,
  seed: number,
): Promise<{rewards: number[]; answer: string}> {
  const answers: SampledAnswer[] = [];
  for (let i = 0; i < ANSWERS; i++) {
    answers.push(...(await answersTo(test, model, tokenizer, {maxTokens, seed: ANSWERS * seed + i})));
  }
  return {rewards: answers.map(reward), answer: answers[0]!.text};
}

function rounded(value: number): number {
  return Math.round(1000 * value) / 1000;
}

function summary(): string {
  const rows = Object.keys(TASKS).flatMap(task =>
    [false, true].map(random => {
      const done = runs.filter(each => each.task === task && each.random === random);
      const column = (of: (each: Run) => number) => done.map(each => of(each).toFixed(2)).join(' ');
      return [`${task}${random ? ', random' : ''}`, column(({before}) => before), column(({after}) => after)];
    }),
  );
  return table([['', 'before', 'after'], ...rows]);
}
