import type {GenerateOptions} from 'tfjs-lora/language';
import {countWords} from '../rewards/rules';
import {shuffled} from '../shared/random';

/** A question with a short and a long answer. Both are correct; the short one is preferred. */
export interface Pair {
  prompt: string;
  chosen: string;
  rejected: string;
}

/** Things, what they are in a few words, and a detail for the long answer. */
const FACTS: readonly (readonly [thing: string, definition: string, detail: string])[] = [
  ['a fox', 'a small wild dog', 'hunts mice at night and sleeps in a den'],
  ['a violin', 'a string instrument', 'has four strings and is played with a bow'],
  ['a lemon', 'a sour yellow fruit', 'grows on trees in warm countries'],
  ['a baker', 'a person who makes bread', 'gets up early and works with flour'],
  ['a hammer', 'a tool for driving nails', 'has a handle of wood and a head of steel'],
  ['a river', 'a stream of fresh water', 'flows from the mountains to the sea'],
  ['a violet', 'a small purple flower', 'blooms in spring and likes the shade'],
  ['a ferry', 'a boat for passengers', 'carries people and cars over water'],
  ['a kettle', 'a pot for boiling water', 'has a spout and whistles when it is hot'],
  ['a sparrow', 'a small brown bird', 'lives in towns and eats seeds'],
  ['a dentist', 'a doctor for teeth', 'repairs teeth and tells people to brush them'],
  ['a desert', 'a very dry place', 'gets little rain and has few plants'],
  ['a trumpet', 'a brass instrument', 'has three valves and is very loud'],
  ['an onion', 'a vegetable with many layers', 'makes people cry when it is cut'],
  ['a ladder', 'a set of steps for climbing', 'can be moved and leans against a wall'],
  ['a whale', 'a very large sea animal', 'breathes air and feeds on tiny shrimps'],
  ['a tailor', 'a person who makes clothes', 'measures people and sews suits for them'],
  ['a candle', 'a stick of wax that burns', 'has a wick and gives a warm light'],
  ['a glacier', 'a slow river of ice', 'forms from snow and carves valleys'],
  ['a bicycle', 'a vehicle with two wheels', 'has pedals and is moved by its rider'],
  ['a tulip', 'a flower that grows from a bulb', 'comes in many colours and blooms in spring'],
  ['a pilot', 'a person who flies planes', 'sits in the cockpit and talks to the tower'],
  ['a compass', 'a tool that shows north', 'has a needle that follows the field of the earth'],
  ['a frog', 'a small animal that jumps', 'lives near ponds and catches flies'],
  ['a drum', 'an instrument that is struck', 'has a skin that is stretched over a frame'],
  ['a carrot', 'an orange root vegetable', 'grows in the ground and is eaten by rabbits'],
  ['a volcano', 'a mountain that can erupt', 'throws out ash and streams of lava'],
  ['a sailor', 'a person who works on a ship', 'travels the seas and knows about knots'],
  ['a pillow', 'a soft cushion for the head', 'is filled with feathers and lies on a bed'],
  ['an owl', 'a bird that hunts at night', 'has large eyes and flies without a sound'],
  ['a taxi', 'a car that can be hired', 'takes people through a city for money'],
  ['a flute', 'an instrument that is blown', 'has holes and a clear and high tone'],
  ['a plum', 'a small purple fruit', 'has a stone inside and is made into jam'],
  ['a nurse', 'a person who cares for the sick', 'works in a hospital, often at night'],
  ['a lake', 'a body of water with land around it', 'is fed by streams and full of fish'],
  ['a saw', 'a tool for cutting wood', 'has a blade with many sharp teeth'],
  ['a spider', 'a small animal with eight legs', 'spins a web and waits for insects'],
  ['a rose', 'a flower with thorns', 'smells sweet and stands for love'],
  ['a tram', 'a train that runs in streets', 'gets its power from a wire above it'],
  ['a spoon', 'a tool for eating soup', 'has a handle and a small bowl at its end'],
  ['a farmer', 'a person who grows food', 'works in the fields and keeps animals'],
  ['a swamp', 'an area of wet land', 'is home to frogs and many insects'],
  ['a piano', 'an instrument with keys', 'has hammers inside that strike its strings'],
  ['a bean', 'a seed that is eaten', 'grows in pods and has a lot of protein'],
  ['a bear', 'a large and heavy animal', 'likes honey and sleeps through the winter'],
  ['a blanket', 'a warm cover for a bed', 'is made of wool and keeps people warm'],
  ['a mountain', 'a very high hill', 'has a peak that may be covered with snow'],
  ['a plumber', 'a person who repairs pipes', 'comes when the kitchen is under water'],
  ['a daisy', 'a small white flower', 'has a yellow centre and grows in meadows'],
  ['a rocket', 'a vehicle that flies to space', 'burns a lot of fuel to leave the earth'],
  ['a pear', 'a sweet green fruit', 'is narrow at its top and grows on trees'],
  ['a shovel', 'a tool for digging', 'has a long handle and a broad blade'],
  ['a shark', 'a large fish with sharp teeth', 'swims in the sea and smells blood from afar'],
  ['a guitar', 'an instrument with six strings', 'is plucked with the fingers of a hand'],
  ['an island', 'a piece of land in the water', 'can only be reached by boat or by plane'],
  ['a waiter', 'a person who serves food', 'takes orders and brings the plates to the table'],
  ['a mirror', 'a piece of glass that reflects', 'hangs on a wall and shows who looks into it'],
  ['a rabbit', 'a small animal with long ears', 'lives in a hole and eats grass'],
  ['a tractor', 'a vehicle for farm work', 'has large wheels and pulls a plough'],
  ['a cherry', 'a small red fruit', 'grows in pairs and is picked in summer'],
  ['a harp', 'a large string instrument', 'stands on the floor and is played by hand'],
  ['a valley', 'low land between hills', 'often has a river that runs through it'],
  ['a judge', 'a person who decides in court', 'listens to both sides and knows the law'],
  ['a needle', 'a thin tool for sewing', 'has an eye through which the thread goes'],
  ['a goose', 'a large water bird', 'flies south in autumn and is quite loud'],
  ['a cabbage', 'a vegetable with thick leaves', 'is round and can be eaten raw or cooked'],
  ['a canoe', 'a narrow light boat', 'is moved with a paddle on rivers and lakes'],
  ['a clock', 'a device that shows the time', 'has two hands and a face with twelve numbers'],
  ['a painter', 'a person who paints', 'mixes colours and works with a brush'],
  ['a forest', 'a large area with many trees', 'is home to deer, birds and mushrooms'],
  ['a bee', 'an insect that makes honey', 'visits flowers and lives with a queen'],
  ['a melon', 'a large juicy fruit', 'has a hard skin and many seeds inside'],
  ['a cello', 'a large string instrument', 'stands between the knees and has a deep tone'],
  ['a beach', 'a strip of sand by the sea', 'is full of people when the sun shines'],
  ['a broom', 'a brush with a long handle', 'sweeps the floor and stands in a corner'],
  ['a camel', 'a desert animal with a hump', 'can walk for days without any water'],
];

/** The most words of an answer that follows the rule. */
const MAX_WORDS = 8;

/** The rule: one sentence of at most eight words that does not begin by repeating the question, as in "A fox is". */
export function isShort(answer: string): boolean {
  const text = answer.trim();
  return countWords(text) <= MAX_WORDS && /^[^.]+\.$/.test(text) && !/^\w+ \w+ is\b/.test(text);
}

/** Training and held-out pairs, in the same order in each run. */
export function makePairs({train, test}: {train: number; test: number}): {train: Pair[]; test: Pair[]} {
  const pairs = shuffled([...FACTS], 7).map(([thing, definition, detail]) => ({
    prompt: `Question: What is ${thing}?\nAnswer:`,
    chosen: ` ${definition[0]!.toUpperCase()}${definition.slice(1)}.`,
    rejected: ` ${thing[0]!.toUpperCase()}${thing.slice(1)} is ${definition} that ${detail}.`,
  }));
  return {train: pairs.slice(0, train), test: pairs.slice(-test)};
}

/** A batch is four questions, or four pairs of answers. */
export const BATCHES = {batchSize: 4, maxLength: 48};

/** The answers as a log may have them: of every two questions, one has a short and one a long answer. */
export function mixedAnswers(pairs: readonly Pair[]): {prompt: string; completion: string}[] {
  return pairs.map(({prompt, chosen, rejected}, i) => ({prompt, completion: i % 2 === 0 ? chosen : rejected}));
}

/** What `generateTexts` takes, to answer the questions. A longer answer is cut off, and does not follow the rule. */
export function asked(pairs: readonly Pair[]): [prompts: string[], options: GenerateOptions] {
  return [pairs.map(({prompt}) => prompt), {maxTokens: 24, stop: ['\n']}];
}

/** Ordinary text, to see whether the model still predicts it as well as before. */
export const ORDINARY = [
  'The library opened at nine, and by ten the reading room was full. Most visitors came for the newspapers, some ' +
    'for the heating, and a few for the old maps on the second floor. The woman at the desk knew them all by name. ' +
    'When it rained she put a bucket under the skylight and went on with her work as if nothing had happened.',
  'To make a simple soup, heat some oil in a large pot and fry the onions until they are soft. Add the carrots and ' +
    'the potatoes, cover everything with water, and let it cook for half an hour. Season it with salt and pepper. ' +
    'If you like it smooth, use a blender at the end. It keeps for three days in the fridge.',
  'In the nineteenth century, the railway changed the way people thought about distance. A journey that had taken ' +
    'a week now took a day. Towns along the lines grew quickly, while others lost their markets. Clocks had to agree ' +
    'with one another for the first time, because the trains would not wait for the sun.',
];
