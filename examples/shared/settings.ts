import {mean, overSeeds, table} from './report';
import {readRuns, writeRuns} from './runs';

/** A setting of a task, with an amount of data and a seed. */
export interface Plan {
  task: string;
  /** How many examples it trains on. */
  examples: number;
  setting: string;
  seed: number;
}

/** What a plan gave. */
export interface SettingRun extends Plan {
  /** The share of held-out examples that are right. */
  share: number;
  /** Of processor time, with the test. */
  seconds: number;
}

/** The settings of each task by name, and the amounts of data. */
export interface SettingStudy {
  settings: Readonly<Record<string, readonly string[]>>;
  examples: readonly number[];
  seeds: readonly number[];
}

/** Runs what the `study.json` beside a study does not have, and adds each run to it. */
export async function runSettings(
  study: string,
  {settings, examples, seeds}: SettingStudy,
  share: (plan: Plan) => Promise<number>,
): Promise<void> {
  const runs = readRuns<SettingRun>(study);
  const plans = seeds.flatMap(seed =>
    Object.entries(settings).flatMap(([task, names]) =>
      examples.flatMap(count => names.map((setting): Plan => ({task, examples: count, setting, seed}))),
    ),
  );
  for (const plan of plans) {
    if (runs.some(run => (Object.keys(plan) as (keyof Plan)[]).every(key => run[key] === plan[key]))) {
      continue;
    }
    const begin = process.cpuUsage();
    const right = await share(plan);
    const {user, system} = process.cpuUsage(begin);
    runs.push({...plan, share: right, seconds: Math.round((user + system) / 1e6)});
    writeRuns(study, runs);
    console.log(Object.values(runs.at(-1)!).join('  '));
  }
}

/** A table for each task: a row for each setting, with mean and deviation over the seeds. */
export function settingTables(study: string, {settings, examples}: Omit<SettingStudy, 'seeds'>): string {
  const runs = readRuns<SettingRun>(study);
  const cells = (task: string, setting: string, count: number) => {
    const same = runs.filter(run => run.task === task && run.setting === setting && run.examples === count);
    return same.length === 0
      ? ['', '']
      : [overSeeds(same.map(({share}) => share))[0], mean(same.map(({seconds}) => seconds)).toFixed(0)];
  };
  return Object.entries(settings)
    .map(([task, names]) => {
      const head = [task, ...examples.flatMap(count => [`${count} examples`, 'CPU, s'])];
      return table([head, ...names.map(name => [name, ...examples.flatMap(count => cells(task, name, count))])]);
    })
    .join('\n\n');
}
