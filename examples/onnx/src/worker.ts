/** The entry of the worker: calls come in; results, errors, and news of training go out. */
import {answerCalls} from '../../shared/worker';
import {DirectionEngine} from './engine';

answerCalls(tell => new DirectionEngine(tell));
