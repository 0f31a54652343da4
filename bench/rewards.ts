// What a step of trainOnRewards takes with SmolLM2-135M in 4 bits on wasm, by the number of threads: a group of 8
// answers beside a single one, and the share of sampling. Then the peak memory of its update beside that of a DPO step
// on the same two answers, buffers as tfjs counts them.
//
//     npm run bench -- rewards [--threads 1,2] [--rounds 5]

import {execFileSync} from 'node:child_process';
import {openAsBlob} from 'node:fs';
import {execPath} from 'node:process';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import * as tf from '@tensorflow/tfjs';
import {adamW, applyLoRA, startWasm} from 'tfjs-lora';
import {
  compilePreferences,
  encodePreferences,
  generateTexts,
  loadGGUF,
  type SampledAnswer,
  trainOnRewards,
} from 'tfjs-lora/language';
import {smollm2} from '../scripts/pretrained';
import {BufferMeter, type Engine} from './bufferMeter';
import {processor} from './machine';
import {now, summarize} from './measure';
import {printTable} from './table';

/** What sampling took, in milliseconds, and the tokens of the longest answer. */
interface Sampling {
  wall: number;
  cpu: number;
  length: number;
}
interface Measured {
  /** Of single answers of `generateTexts`. */
  one: Sampling[];
  group: (Sampling & {update: number})[];
  /** Bytes at the peak of an update with two answers, and their tokens with the prompt. */
  peaks: {rewards: number; dpo: number; tokens: number};
}

const {values} = parseArgs({
  options: {
    threads: {type: 'string', default: '1,2'},
    rounds: {type: 'string', default: '5'},
    worker: {type: 'boolean', default: false},
  },
});
const GROUP = 8;
/** Most tokens of an answer. */
const TOKENS = 64;
const PROMPT = [{role: 'user' as const, content: 'Tell me a long story about a fox.'}];

if (values.worker) {
  console.log(JSON.stringify(await measureRewards(Number(values.threads), Number(values.rounds))));
} else {
  const rows = values.threads.split(',').map(threads => {
    const args = ['--import', 'tsx', fileURLToPath(import.meta.url), '--worker'];
    const output = execFileSync(execPath, [...args, '--threads', threads, '--rounds', values.rounds], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    return {threads, measured: JSON.parse(output.trim().split('\n').at(-1)!) as Measured};
  });
  console.log(`\nSmolLM2-135M in 4 bits on wasm, medians of ${values.rounds} rounds, ${processor()}\n`);
  const median = <T>(steps: readonly T[], valueOf: (step: T) => number) => summarize(steps.map(valueOf))!.median;
  printTable(
    [
      ...['threads', `sampling ${GROUP} answers, s`, 'the update, s', 'share of sampling'],
      ...[`a token of ${GROUP} ÷ of one`, 'the same, processor time'],
    ],
    rows.map(({threads, measured: {one, group}}) => {
      const perToken = (clock: 'wall' | 'cpu') =>
        median(group, step => step[clock] / step.length) / median(one, step => step[clock] / step.length);
      return [
        threads,
        (median(group, ({wall}) => wall) / 1000).toFixed(2),
        (median(group, ({update}) => update) / 1000).toFixed(2),
        `${(100 * median(group, ({wall, update}) => wall / (wall + update))).toFixed(0)} %`,
        perToken('wall').toFixed(2),
        perToken('cpu').toFixed(2),
      ];
    }),
  );
  const {rewards, dpo, tokens} = rows[0]!.measured.peaks;
  console.log(
    `\nPeak of an update with two answers (${tokens} tokens): ${(rewards / 1e6).toFixed(0)} MB; ` +
      `of a DPO step on the same: ${(dpo / 1e6).toFixed(0)} MB (${(rewards / dpo).toFixed(2)}).`,
  );
}

async function measureRewards(threads: number, rounds: number): Promise<Measured> {
  await startWasm({threads});
  tf.enableProdMode();
  const {model, tokenizer} = await loadGGUF(await openAsBlob(smollm2()));
  const adapted = applyLoRA(model, {rank: 16, targets: [/[qkvo]_proj$/], seed: 1});
  const optimizer = adamW({learningRate: 1e-6});
  const meter = new BufferMeter(tf.engine() as unknown as Engine);
  let answers: readonly SampledAnswer[] = [];
  let [ended, endedCpu] = [0, 0];
  const single = async (seed: number): Promise<Sampling> => {
    const [begin, beginCpu] = [now('wall'), now('cpu')];
    let length = 0;
    await generateTexts(adapted, tokenizer, [PROMPT], {
      ...{temperature: 1, seed, maxTokens: TOKENS},
      onProgress: ({done}) => (length = done),
    });
    return {wall: now('wall') - begin, cpu: now('cpu') - beginCpu, length};
  };
  const step = async (group: number, seed: number): Promise<Sampling & {update: number}> => {
    // Rewards that differ, so that there is something to learn.
    const reward = (sampled: readonly SampledAnswer[]) => {
      [ended, endedCpu] = [now('wall'), now('cpu')];
      answers = sampled;
      meter.restart();
      return sampled.map((_, i) => i);
    };
    const [begin, beginCpu] = [now('wall'), now('cpu')];
    await trainOnRewards(adapted, tokenizer, {
      ...{prompts: [PROMPT], rewards: [reward], optimizer, steps: 1, maxTokens: TOKENS, group, seed},
    });
    return {
      ...{wall: ended - begin, cpu: endedCpu - beginCpu, update: now('wall') - ended},
      length: Math.max(...answers.map(({tokens}) => tokens.length)),
    };
  };
  const measured: Measured = {one: [], group: [], peaks: {rewards: 0, dpo: 0, tokens: 0}};
  for (let round = -1; round < rounds; round++) {
    const [one, group] = [await single(round + 1), await step(GROUP, round + 1)];
    if (round >= 0) {
      measured.one.push(one);
      measured.group.push(group);
    }
  }
  await step(2, 1);
  const [chosen, rejected] = answers.map(({text}) => text) as [string, string];
  measured.peaks.rewards = meter.peak;
  measured.peaks.tokens = answers.reduce((sum, {tokens}) => sum + tokens.length, 0);
  const pairs = await encodePreferences(adapted, tokenizer, [{messages: PROMPT, chosen, rejected}], {batchSize: 1});
  compilePreferences(adapted, {method: 'dpo', beta: 0.1, optimizer});
  meter.restart();
  await adapted.fitDataset(pairs, {epochs: 1, verbose: 0});
  measured.peaks.dpo = meter.peak;
  return measured;
}
