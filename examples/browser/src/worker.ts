/** The entry of the worker: calls come in; results, errors, and news of a training go out. */
import {answerCalls} from '../../shared/worker';
import {DigitEngine} from './engine';

answerCalls(tell => new DigitEngine(tell));
