import {mulberry32, shuffled} from '../shared/random';
import type {Order} from './orders';

const NAMES = 'Ada Bruno Carla Deniz Elif Farid Greta Hugo Ines Jonas Kenji Lena Mateo Nora Omar Paula'.split(' ');
const CITIES = 'Lisbon Osaka Cairo Quito Oslo Delhi Boston Nairobi Lyon Seoul Perth Riga'.split(' ');
const JOBS = 'baker nurse pilot painter farmer teacher tailor dentist plumber actor'.split(' ');
const SENTENCES: readonly ((card: Card) => string)[] = [
  ({name, city, job, age}) => `${name} is a ${job} from ${city} and ${age} years old.`,
  ({name, city, job, age}) => `In ${city} lives ${name}, ${age}, who works as a ${job}.`,
  ({name, city, job, age}) => `At the age of ${age}, ${name} still works as a ${job} in ${city}.`,
  ({name, city, job, age}) => `Meet ${name}, a ${job}. Home: ${city}. Age: ${age}.`,
  ({name, city, job, age}) => `A ${job} of ${age} years, ${name} came from ${city}.`,
];

interface Card {
  name: string;
  city: string;
  job: string;
  age: number;
}

/** Sentences about people, each with a JSON object of four fields as the completion. No two are about the same person. */
export function makeCards({train, test}: {train: number; test: number}): {train: Order[]; test: Order[]} {
  const random = mulberry32(11);
  const below = (count: number) => Math.floor(random() * count);
  const people = NAMES.flatMap(name => CITIES.map(city => ({name, city})));
  const cards = shuffled(people, 5)
    .slice(0, train + test)
    .map(person => {
      const card = {...person, job: JOBS[below(JOBS.length)]!, age: 20 + below(60)};
      const {name, city, job, age} = card;
      const sentence = SENTENCES[below(SENTENCES.length)]!(card);
      return {
        prompt: `Text: ${sentence}\nCard:`,
        completion: ` ${JSON.stringify({age, who: name, at: city, does: job})}`,
      };
    });
  return {train: cards.slice(0, train), test: cards.slice(train)};
}
